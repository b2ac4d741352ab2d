# Configuration of the cluster's daemons. Sourced by `up`.

# access FILE SERVER NAME: a kubeconfig with its certificates inside, so that the file can be copied.
access() {
  (umask 077 && cat >"$1") <<Y
apiVersion: v1
kind: Config
clusters: [{name: $KUBE_NAME, cluster: {server: "$2", certificate-authority-data: $(base64 -w0 <"$pki/ca.crt")}}]
users: [{name: $3, user: {client-certificate-data: $(base64 -w0 <"$pki/$3.crt"), client-key-data: $(base64 -w0 <"$pki/$3.key")}}]
contexts: [{name: $KUBE_NAME, context: {cluster: $KUBE_NAME, user: $3}}]
current-context: $KUBE_NAME
Y
}
access "$kubeconfig" "https://127.0.0.1:$port" admin
for name in admin kubelet kube-controller-manager kube-scheduler kube-proxy coredns; do
  access "$conf/$name.kubeconfig" https://127.0.0.1:6443 "$name"
done

# The socket lies on the disk, so that images can be imported without entering the node. A virtual machine's root may lack
# the capability to lower oom_score_adj, and AppArmor's file system is not there.
cat >"$conf/containerd.toml" <<Y
version = 3
root = "$KUBE_RUN/containerd"
state = "/run/containerd"
[grpc]
  address = "$containerd_socket"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  max_container_log_line_size = 65536
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["$KUBE_BIN"]
    conf_dir = "$conf/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "$KUBE_BIN/runc"
        SystemdCgroup = false
Y
cat >"$conf/cni/10-bridge.conflist" <<Y
{"cniVersion": "1.0.0", "name": "kube", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": [[{"subnet": "$pod_cidr"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
Y
echo "nameserver $node_ip" >"$conf/resolv.conf"
# Never evicts because the machine's disk is nearly full; reacts fast, because tests wait for it.
cat >"$conf/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /kube-$KUBE_NAME
failSwapOn: false
containerRuntimeEndpoint: unix://$containerd_socket
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-serving.crt
tlsPrivateKeyFile: $pki/kubelet-serving.key
clusterDNS: [$node_ip]
clusterDomain: cluster.local
resolvConf: $conf/resolv.conf
podLogsDir: $logs/pods
oomScoreAdj: 0
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 100
kubeAPIBurst: 200
serializeImagePulls: false
shutdownGracePeriod: 0s
Y
# Sizes of conntrack are read-only outside of the first network namespace: 0 leaves them alone.
cat >"$conf/kube-proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $conf/kube-proxy.kubeconfig}
clusterCIDR: $pod_cidr
hostnameOverride: $node_name
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nftables: {minSyncPeriod: 100ms}
Y
cat >"$conf/Corefile" <<Y
.:53 {
  bind $node_ip
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $conf/coredns.kubeconfig
    pods insecure
    ttl 5
  }
}
Y
