//go:build tools

// Package etcd pins what the embedded cluster builds.
package etcd

import (
	_ "go.etcd.io/etcd/server/v3"
)
