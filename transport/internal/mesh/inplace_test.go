package mesh

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// watched is a pipe that calls back before a message in place is copied.
type watched struct {
	*pipe
	onView func()
}

func (w watched) View(offset, n uint64) ([]byte, error) {
	b, err := w.pipe.View(offset, n)
	w.onView()
	return b, err
}

// TestMessageTakenBackIsNeverReceived gives up a message in place while its receiver copies it:
// the receiver must not take for the message what the memory has since become.
func TestMessageTakenBackIsNeverReceived(t *testing.T) {
	x := pattern(0, 1, 100_000)
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	onView := func() {
		cancel()
		require.ErrorIs(t, <-sent, context.Canceled)
		clear(x)
	}
	ends := openOver(t, func(testing.TB) (a, b Stream) {
		a, b = NewPipe()
		return watched{a.(*pipe), onView}, b
	}, 2, nil) // a is the end of the higher rank
	go func() { sent <- ends[0].Send(ctx, 1, 5, x) }()
	_, err := ends[1].Recv(t.Context(), 0, 5, make([]byte, 100_000))
	require.Error(t, err)
	require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
}

func TestPlacedMessageWaitsForItsReceiver(t *testing.T) {
	ends := openOver(t, linkers["pipe"], 2, func(c *Config) { c.MaxUnexpectedBytes = 1 << 20 })
	x := pattern(0, 1, 5<<20)
	sent := make(chan error, 1)
	go func() { sent <- ends[0].Send(t.Context(), 1, 1, x) }()
	ctx, cancel := context.WithCancel(t.Context())
	other := make(chan error, 1)
	go func() { // finds the message and has no room to keep it
		_, err := ends[1].Recv(ctx, 0, 2, nil)
		other <- err
	}()
	got := make([]byte, len(x))
	_, err := ends[1].Recv(t.Context(), 0, 1, got)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, x, got)
	cancel()
	require.ErrorIs(t, <-other, context.Canceled)
}

func TestSeveralSendersAwaitTheirPlacedMessages(t *testing.T) {
	ends := openOver(t, linkers["pipe"], 2, nil)
	const senders, rounds = 8, 50
	sent := make(chan error, senders)
	for s := range senders {
		go func() {
			var err error
			for range rounds {
				err = errors.Join(err, ends[0].Send(t.Context(), 1, transport.Tag(s), pattern(0, s, 100_000)))
			}
			sent <- err
		}()
	}
	room := make([]byte, 100_000)
	for range rounds {
		for s := range senders {
			_, err := ends[1].Recv(t.Context(), 0, transport.Tag(s), room)
			require.NoError(t, err)
			require.Equal(t, pattern(0, s, 100_000), room)
		}
	}
	for range senders {
		require.NoError(t, <-sent)
	}
}

// segments builds the frame that says where a message of total bytes lies.
func segments(total uint64, list ...uint64) []byte {
	var payload []byte
	for _, v := range list {
		payload = binary.BigEndian.AppendUint64(payload, v)
	}
	h := header{kind: kindInPlace, seq: 1, tag: 6, length: uint32(len(payload)), message: total}
	b := make([]byte, headerBytes)
	h.put(b)
	return append(b, payload...)
}

func TestPlacesOfAPeerAreNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		link string
		want error
	}{
		"nothing there":          {segments(64, 0, 64), "pipe", transport.ErrProtocol},
		"no segment":             {segments(64), "pipe", transport.ErrProtocol},
		"half a segment":         {segments(64, 0), "pipe", transport.ErrProtocol},
		"longer than stated":     {segments(64, 0, 65), "pipe", transport.ErrProtocol},
		"an empty piece":         {segments(64, 0, 0), "pipe", transport.ErrProtocol},
		"longer than an int":     {segments(1<<63, 0, 1<<63), "pipe", transport.ErrTooLarge},
		"where no memory is met": {segments(64, 0, 64), "socket", transport.ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			ends := openOver(t, linkers[c.link], 3, nil)
			inject(t, ends[1], ends[0], c.raw)
			_, err := ends[0].Recv(t.Context(), 1, 6, make([]byte, 64))
			require.ErrorIs(t, err, c.want)
			requireBroken(t, ends, 1, c.want)
			closeAll(ends)
		})
	}
}
