package loopback

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddrCanBeListenedAt(t *testing.T) {
	l, err := net.Listen("tcp", Addr())
	require.NoError(t, err)
	require.True(t, l.Addr().(*net.TCPAddr).IP.IsLoopback())
	require.NoError(t, l.Close())
}
