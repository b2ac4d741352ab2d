{{/* The chart's name in labels. */}}
{{- define "blueback.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name, with the chart's name in it once. Room is left for the longest ending. */}}
{{- define "blueback.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "blueback.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The gate's name: of its Deployment, its Service, its ServiceAccount. */}}
{{- define "blueback.gate" -}}
{{- printf "%s-gate" (include "blueback.fullname" .) -}}
{{- end -}}

{{/* Names of objects of the whole cluster: two releases of the chart must not meet. */}}
{{- define "blueback.clusterName" -}}
{{- $gate := include "blueback.gate" . -}}
{{- if eq .Release.Namespace (include "blueback.fullname" .) -}}{{- $gate -}}{{- else -}}{{- printf "%s-%s" $gate .Release.Namespace -}}{{- end -}}
{{- end -}}

{{- define "blueback.selectorLabels" -}}
app.kubernetes.io/name: {{ include "blueback.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gate
{{- end -}}

{{/* Ours win over commonLabels: selectors and the webhooks rely on them. */}}
{{- define "blueback.labels" -}}
{{- $ours := include "blueback.selectorLabels" . | fromYaml }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $ours "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "blueback" }}
{{- merge $ours .Values.commonLabels | toYaml }}
{{- end -}}

{{- define "blueback.serviceAccount" -}}
{{- if .Values.gate.serviceAccount.create -}}
{{- default (include "blueback.gate" .) .Values.gate.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.gate.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* An image, by digest when there is one. Takes {image, root}. */}}
{{- define "blueback.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "blueback.tlsSecret" -}}
{{- default (printf "%s-tls" (include "blueback.gate" .)) .Values.tls.secretName -}}
{{- end -}}

{{/* Whether the gate may patch caBundle itself: only with a ClusterRole. */}}
{{- define "blueback.patchesWebhooks" -}}
{{- if and .Values.webhooks.enabled (not .Values.namespaces) (not .Values.tls.certManager.enabled) -}}true{{- end -}}
{{- end -}}

{{/* Whether webhooks can work at all: somebody must be able to set caBundle. */}}
{{- define "blueback.webhooks" -}}
{{- if and .Values.webhooks.enabled (or (not .Values.namespaces) .Values.tls.certManager.enabled) -}}true{{- end -}}
{{- end -}}

{{/* Whether the cluster knows ReleaseGate by now, or somebody else sees to it. */}}
{{- define "blueback.knowsReleaseGate" -}}
{{- if or (not .Values.crds.enabled) (.Capabilities.APIVersions.Has "blueback.dev/v1alpha1/ReleaseGate") -}}true{{- end -}}
{{- end -}}
