#!/usr/bin/env bash
# The node's first process. Started by `up` in new namespaces, and by nothing else.
set -u
. "$(dirname "$0")/settings.sh"
export PATH=$KUBE_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Mounts: nothing goes back to the machine; a /sys that shows this network namespace; an own /run (containerd, network
# namespaces, the lock of xtables); /var/log, where the kubelet insists on links to logs.
mount --make-rprivate /
mkdir -p "$KUBE_RUN/cgroup" "$KUBE_RUN/kubelet"
mount --rbind /sys/fs/cgroup "$KUBE_RUN/cgroup" # kept here while /sys is replaced, or every hierarchy is listed twice
umount -R /sys 2>/dev/null || umount -lR /sys
mount -t sysfs sysfs /sys
mount --rbind "$KUBE_RUN/cgroup" /sys/fs/cgroup
umount -R "$KUBE_RUN/cgroup"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount --bind "$logs" /var/log
mount --make-rshared / # volumes that the kubelet mounts reach the pods

# The kubelet wants its group to exist: in every hierarchy (cgroup v1), or with its controllers (v2).
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
  for controller in cpuset cpu io memory pids hugetlb; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
  done 2>/dev/null
  mkdir -p "/sys/fs/cgroup/kube-$KUBE_NAME"
else
  for hierarchy in /sys/fs/cgroup/*/; do
    group=$hierarchy/kube-$KUBE_NAME
    mkdir -p "$group"
    for file in cpuset.cpus cpuset.mems; do
      [ ! -f "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$group/$file"
    done
  done
fi

# Network: loopback, and one pair of interfaces as the node's card. No uplink.
hostname "$node_name"
ip link set lo up
ip link add node0 type veth peer name node0p
ip link set node0 up
ip link set node0p up
ip addr add "$node_ip/24" dev node0
ip route add default dev node0 # addresses of services need a route before they are translated
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 # answers on the bridge must be translated back

# keep NAME COMMAND...: starts it, and again whenever it ends.
keep() {
  local name=$1
  shift
  while :; do
    echo "--- started $(date -Is)"
    "$@"
    echo "--- ended with $?"
    sleep 1
  done >>"$logs/$name.log" 2>&1 &
}
keep etcd etcd --name node --data-dir "$KUBE_RUN/etcd" --listen-client-urls http://127.0.0.1:2379 \
  --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync --log-level warn
keep containerd containerd --config "$conf/containerd.toml" --log-level warn
keep kube-apiserver kube-apiserver \
  --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$node_ip" \
  --service-cluster-ip-range="$service_cidr" --allow-privileged=true \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
  --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
  --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- --enable-aggregator-routing=true \
  --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key" \
  --profiling=false --v=1
keep socat socat "UNIX-LISTEN:$KUBE_RUN/api.sock,fork,unlink-early" TCP:127.0.0.1:6443

# The others only make noise before the API server answers.
(
  until kubectl --kubeconfig "$conf/admin.kubeconfig" --request-timeout=2s get --raw /readyz >/dev/null 2>&1; do sleep 0.3; done
  keep kubelet kubelet --config="$conf/kubelet.yaml" --kubeconfig="$conf/kubelet.kubeconfig" --hostname-override="$node_name" \
    --node-ip="$node_ip" --root-dir="$KUBE_RUN/kubelet" --cert-dir="$KUBE_RUN/kubelet/pki" --v=1
  controller() { # NAME ARGUMENTS...
    local name=$1 config=$conf/$1.kubeconfig
    shift
    keep "$name" "$name" --kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" \
      --leader-elect=false --bind-address=127.0.0.1 --profiling=false --v=1 "$@"
  }
  controller kube-scheduler
  controller kube-controller-manager --use-service-account-credentials=true --service-account-private-key-file="$pki/sa.key" \
    --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --allocate-node-cidrs=false --node-monitor-grace-period=20s
  keep kube-proxy kube-proxy --config="$conf/kube-proxy.yaml" --v=1
  keep coredns coredns -conf "$conf/Corefile"
  wait
) &

# Reaps orphans until the node ends.
trap 'exit 0' TERM INT
while :; do
  sleep 3600 &
  wait $!
done
