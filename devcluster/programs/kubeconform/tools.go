//go:build tools

// Package kubeconform pins what the embedded cluster builds.
package kubeconform

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
)
