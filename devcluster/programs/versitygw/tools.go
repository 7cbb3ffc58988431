//go:build tools

// Package versitygw pins what the embedded cluster builds.
package versitygw

import (
	_ "github.com/versity/versitygw/cmd/versitygw"
)
