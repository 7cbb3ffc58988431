//go:build tools

// Package kueue pins what the embedded cluster builds.
package kueue

import (
	_ "sigs.k8s.io/kueue/cmd/kueue"
)
