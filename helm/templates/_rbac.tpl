{{/* Name of the Role in each guarded namespace: not that of the Role at home, which may be the same namespace. */}}
{{- define "blueback.guardName" -}}
{{- printf "%s-guard" (include "blueback.clusterName" .) -}}
{{- end -}}

{{/* What the gate may do in the namespaces that it guards. */}}
{{- define "blueback.guardRules" -}}
- apiGroups: [blueback.dev]
  resources: [releasegates]
  verbs: [get, list, watch]
- apiGroups: [blueback.dev]
  resources: [releases]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [blueback.dev]
  resources: [releasegates/status, releases/status]
  verbs: [get, update, patch]
# An owner reference that blocks deletion asks for this.
- apiGroups: [blueback.dev]
  resources: [releasegates/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# The selector is what a revert changes.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# A rolling update is taken back to the template of its old ReplicaSet or revision; afterRevert scales the candidate down or deletes it.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets, replicasets]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [get, list]
{{- with .Values.rbac.traffic }}
{{- if .gatewayApi }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes]
  verbs: [get, list, watch, patch]
{{- end }}
{{- if .istio }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, patch]
{{- end }}
{{- if .ingress }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, patch]
{{- end }}
{{- if .traefik }}
- apiGroups: [traefik.io]
  resources: [traefikservices, ingressroutes]
  verbs: [get, list, watch, patch]
{{- end }}
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
