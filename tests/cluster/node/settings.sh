# Where the cluster lives, and the few words its scripts share. Sourced.
#
#   KUBE_ROOT  binaries, made once and kept          ~/.cache/blueback/cluster
#   KUBE_NAME  which cluster; several can be up       blueback
#
# Outside the checkout, so that neither a new clone nor `git clean` costs the build.
node=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$node/versions.env"
: "${KUBE_ROOT:=${XDG_CACHE_HOME:-$HOME/.cache}/blueback/cluster}" "${KUBE_NAME:=blueback}"
: "${KUBE_BIN:=$KUBE_ROOT/bin}" "${KUBE_RUN:=$KUBE_ROOT/run/$KUBE_NAME}"
export KUBE_ROOT KUBE_NAME KUBE_BIN KUBE_RUN
kubeconfig=$KUBE_RUN/admin.kubeconfig
containerd_socket=$KUBE_RUN/containerd.sock
pki=$KUBE_RUN/pki conf=$KUBE_RUN/conf logs=$KUBE_RUN/log

# These addresses exist only inside the node's own network namespace, which has no uplink: no packet of the cluster can
# reach the machine's network. So every cluster may have the same ones.
node_name=node0
node_ip=10.250.0.1
pod_cidr=10.244.0.0/24
service_cidr=10.96.0.0/16
service_api_ip=10.96.0.1

began=${EPOCHREALTIME/[.,]/}
say() { printf '[%5.1f s] %s\n' "$(((${EPOCHREALTIME/[.,]/} - began) / 100000))e-1" "$*" >&2; }
fail() { echo "$0: $*" >&2; exit 1; }

# Installs what is missing of Debian's packages.
packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || fail "as root: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null
}
