package transport_test

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

func TestErrorNamesRankAndOperation(t *testing.T) {
	err := &transport.Error{Rank: 3, Op: "dispatch", Seq: 17, Err: transport.ErrPeerDead}
	require.EqualError(t, err, "switchyard: rank 3: dispatch #17: peer is dead")
	err = &transport.Error{Rank: transport.None, Op: "recv", Err: transport.ErrTimeout}
	require.EqualError(t, err, "switchyard: unknown rank: recv: operation timed out: i/o timeout")
}

func TestErrorsAreTheStandardOnes(t *testing.T) {
	require.ErrorIs(t, &transport.Error{Err: transport.ErrClosed}, net.ErrClosed)
	require.ErrorIs(t, &transport.Error{Err: transport.ErrTimeout}, os.ErrDeadlineExceeded)
}

func TestCulpritOf(t *testing.T) {
	err := fmt.Errorf("step 5: %w", &transport.Error{Rank: 2, Op: "recv", Err: transport.ErrPeerDead})
	require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
	require.Equal(t, transport.None, transport.CulpritOf(transport.ErrPeerDead))
	require.Equal(t, transport.None, transport.CulpritOf(nil))
}
