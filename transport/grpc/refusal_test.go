package grpc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
)

// TestRefusalIsPrintable: a peer's words reach errors and logs as one short line.
func TestRefusalIsPrintable(t *testing.T) {
	err := refusedBy(1, &controlpb.Refusal{Reason: controlpb.Reason_REASON_MISMATCH, Text: "x\nlevel=INFO\x1b[2J\u202e\xff" + strings.Repeat("y", 1<<20)})
	require.ErrorIs(t, err, transport.ErrMismatch)
	require.Less(t, len(err.Error()), 400)
	require.Equal(t, printable.Text(err.Error(), 400), err.Error())
	require.ErrorContains(t, err, `x\nlevel=INFO\x1b[2J\u202e\xff`)
}

func FuzzRefusal(f *testing.F) {
	f.Add(int32(1), "x\n\x1b")
	f.Fuzz(func(t *testing.T, reason int32, text string) {
		err := refusedBy(1, &controlpb.Refusal{Reason: controlpb.Reason(reason), Text: text})
		require.Equal(t, printable.Text(err.Error(), 400), err.Error())
	})
}
