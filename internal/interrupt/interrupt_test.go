package interrupt

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestSignalEndsTheContext(t *testing.T) {
	for s, want := range map[syscall.Signal]struct {
		says string
		code int
	}{syscall.SIGINT: {"interrupted", 130}, syscall.SIGTERM: {"terminated", 143}} {
		ctx, stop := Context(0)
		_, over := Of(ctx)
		require.False(t, over)
		require.NoError(t, syscall.Kill(syscall.Getpid(), s))
		<-ctx.Done()
		require.NoError(t, syscall.Kill(syscall.Getpid(), s), "the same one again changes nothing")
		why, over := Of(ctx)
		require.True(t, over)
		require.Equal(t, want.says, why.Error())
		require.Equal(t, want.code, why.Code())
		stop()
	}
}

func TestContextOfATest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	why, over := Of(ctx)
	require.True(t, over)
	require.Equal(t, 130, why.Code())
}
