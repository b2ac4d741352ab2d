//go:build tools

// Package tools names what is built, so that `go mod tidy` keeps it. etcd replaces its siblings by folders that the
// published module lacks; without the replacements their published versions serve.
package tools

import _ "go.etcd.io/etcd/server/v3"
