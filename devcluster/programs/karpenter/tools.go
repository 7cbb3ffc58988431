//go:build tools

// Package karpenter pins what the embedded cluster builds.
package karpenter

import (
	_ "sigs.k8s.io/karpenter/kwok"
)
