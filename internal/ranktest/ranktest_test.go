package ranktest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

func TestErrors(t *testing.T) {
	failed := errors.New("failed")
	errs := Errors(t, 3, func(tr transport.Transport) error {
		if tr.Rank() == 1 {
			return failed
		}
		return nil
	})
	require.Equal(t, []error{nil, failed, nil}, errs)
	Succeed(t, Errors(t, 2, func(transport.Transport) error { return nil }))
}
