// Package ranktest runs several ranks over memory in the tests of packages that work on a transport
// and know no world. Tests that have worlds use package switchyardtest.
package ranktest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Errors runs do on n ranks at once and returns its error on each. The transports are closed when
// all have returned.
func Errors(t testing.TB, n int, do func(tr transport.Transport) error) []error {
	t.Helper()
	ends, errs := inproc.New(n), make([]error, n)
	var all sync.WaitGroup
	for r, tr := range ends {
		all.Go(func() { errs[r] = do(tr) })
	}
	all.Wait()
	for _, tr := range ends {
		require.NoError(t, tr.Close())
	}
	return errs
}

// Succeed demands that no rank has an error.
func Succeed(t testing.TB, errs []error) {
	t.Helper()
	for r, err := range errs {
		require.NoError(t, err, "rank %d of %d", r, len(errs))
	}
}

// Joined is how the tests of stages tell the number of a rank in its group from the one under which
// it joined, which errors state.
func Joined(r transport.Rank) transport.Rank { return r + 10 }
