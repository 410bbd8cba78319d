package shortage

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestErrorsOfAShortage(t *testing.T) {
	for _, err := range []error{
		syscall.EMFILE,
		fmt.Errorf("open: %w", &os.PathError{Op: "open", Path: "x", Err: syscall.ENOSPC}),
		&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.ENOBUFS)},
		errors.Join(errors.New("first"), syscall.ENOMEM),
		syscall.ENFILE,
	} {
		require.True(t, Is(err), "%v", err)
	}
	for _, err := range []error{nil, errors.New("no space left on device"), syscall.ECONNREFUSED, os.ErrNotExist} {
		require.False(t, Is(err), "%v", err)
	}
}

// TestOnlyAShortageThatLastsIsACause: it lasts from the first attempt that meets one, and any other
// outcome ends it.
func TestOnlyAShortageThatLastsIsACause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		require.False(t, w.Lasts(syscall.EMFILE))
		time.Sleep(Patience) // sleep-ok: synctest's clock
		require.False(t, w.Lasts(syscall.ENOMEM), "not longer than that")
		time.Sleep(time.Nanosecond) // sleep-ok: synctest's clock
		require.True(t, w.Lasts(syscall.EMFILE))
		for _, end := range []error{nil, syscall.ECONNREFUSED} {
			require.False(t, w.Lasts(end))
			require.False(t, w.Lasts(syscall.EMFILE), "a new one has begun")
			time.Sleep(Patience + 1) // sleep-ok: synctest's clock
			require.True(t, w.Lasts(syscall.EMFILE))
		}
	})
}
