//go:build !linux || purego

package shm

import (
	"context"
	"errors"
	"runtime"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Supported reports whether this build can share memory between processes: on Linux, without the
// tag purego.
const Supported = false

// Join fails: shared memory needs Linux, and a build without the tag purego.
func Join(context.Context, Config) (*Transport, error) {
	return nil, errtext.Errorf("shm: needs Linux without the build tag purego, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
