# The cluster's certificates and who they are for. Sourced by `up`. Made once; a certificate is its holder's identity.
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key" 2>/dev/null; }

authority() {
  [ -s "$pki/$1.crt" ] && return
  key "$1"
  openssl req -x509 -new -key "$pki/$1.key" -subj "/CN=$1" -days 3650 -sha256 -addext basicConstraints=critical,CA:TRUE \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature -out "$pki/$1.crt"
}

# certificate NAME AUTHORITY SUBJECT clientAuth|serverAuth [ALTERNATIVE-NAMES]
certificate() {
  [ -s "$pki/$1.crt" ] && return
  key "$1"
  openssl req -new -key "$pki/$1.key" -subj "$3" -out "$pki/$1.csr"
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/$2.crt" -CAkey "$pki/$2.key" -CAcreateserial -days 365 -sha256 -out "$pki/$1.crt" \
    -extfile <(printf '%s\n' basicConstraints=CA:FALSE keyUsage=digitalSignature,keyEncipherment "extendedKeyUsage=$4" ${5:+"subjectAltName=$5"}) 2>/dev/null
  rm "$pki/$1.csr"
}

# The aggregation layer's proxy must have an authority of its own.
authority ca
authority front-proxy-ca
api_names=DNS:localhost
for name in kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local; do api_names+=,DNS:$name; done
certificate apiserver ca /CN=kube-apiserver serverAuth "$api_names,IP:127.0.0.1,IP:$node_ip,IP:$service_api_ip"
certificate kubelet-serving ca "/O=system:nodes/CN=system:node:$node_name" serverAuth "DNS:$node_name,IP:$node_ip,IP:127.0.0.1"
certificate apiserver-kubelet-client ca /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
certificate front-proxy-client front-proxy-ca /CN=front-proxy-client clientAuth
certificate admin ca /O=system:masters/CN=kubernetes-admin clientAuth
certificate kubelet ca "/O=system:nodes/CN=system:node:$node_name" clientAuth
for name in kube-controller-manager kube-scheduler kube-proxy coredns; do
  certificate "$name" ca "/CN=system:$name" clientAuth
done
if [ ! -s "$pki/sa.pub" ]; then # signs service account tokens
  openssl genrsa -out "$pki/sa.key" 2048 2>/dev/null
  openssl rsa -in "$pki/sa.key" -pubout -out "$pki/sa.pub" 2>/dev/null
fi
