//go:build linux && !purego

package shm

import (
	"context"
	"testing"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestConformance(t *testing.T) {
	open := func(t *testing.T, n int) []transport.Transport {
		ends := make([]transport.Transport, n)
		for r, e := range openAll(t, n, nil) {
			ends[r] = e
		}
		return ends
	}
	transporttest.Run(t, open)
	t.Run("Watched", func(t *testing.T) { transporttest.RunWatched(t, open) })
}

// TestConformanceInPlace sends everything from memory that the peers read in place.
func TestConformanceInPlace(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		ends := make([]transport.Transport, n)
		for r, e := range openAll(t, n, nil) {
			ends[r] = placing{e}
		}
		return ends
	})
}

// placing copies what is sent into the transport's own memory first.
type placing struct{ *Transport }

func (p placing) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	own := p.copies(bufs)
	defer p.free(own)
	return p.Transport.Send(ctx, to, tag, own...)
}

func (p placing) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	own := make([]transport.Message, len(sends))
	for i, m := range sends {
		own[i] = transport.Message{Peer: m.Peer, Tag: m.Tag, Bufs: p.copies(m.Bufs)}
		defer p.free(own[i].Bufs)
	}
	return p.Transport.Exchange(ctx, own, recvs)
}

func (p placing) copies(bufs [][]byte) [][]byte {
	own := make([][]byte, len(bufs))
	for i, b := range bufs {
		if len(b) > 0 {
			own[i] = p.Alloc(len(b))
			copy(own[i], b)
		}
	}
	return own
}

func (p placing) free(bufs [][]byte) {
	for _, b := range bufs {
		p.Free(b)
	}
}
