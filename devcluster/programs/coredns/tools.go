//go:build tools

// Package coredns pins what the embedded cluster builds.
package coredns

import (
	_ "github.com/coredns/coredns"
)
