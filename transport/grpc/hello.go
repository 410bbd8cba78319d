package grpc

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
)

// helloVersion is that of the protocol on both streams.
const helloVersion = 2

// The kinds of stream that two ranks share.
const (
	dataStream    = controlpb.StreamKind_STREAM_KIND_DATA
	controlStream = controlpb.StreamKind_STREAM_KIND_CONTROL
)

// helloAbout returns what the rank that says h says to open a stream with rank to.
func helloAbout(h *controlpb.Hello, kind controlpb.StreamKind, to transport.Rank) *controlpb.Hello {
	return &controlpb.Hello{
		Version: helloVersion, Kind: kind, Job: h.Job, Size: h.Size, From: h.From, To: uint32(to),
		Epoch: h.Epoch, Session: h.Session, Digest: h.Digest,
	}
}

// checkHello reports whether theirs can open a stream of this kind with the rank that says h.
func checkHello(h, theirs *controlpb.Hello, kind controlpb.StreamKind) error {
	differ := func(what string, theirs, here any) error {
		return fmt.Errorf("hello with %s %v, here %v: %w", what, theirs, here, transport.ErrMismatch)
	}
	switch {
	case theirs.GetVersion() != helloVersion:
		return differ("version", theirs.GetVersion(), helloVersion)
	case theirs.Job != h.Job:
		return differ("job", quoted(theirs.Job), quoted(h.Job))
	case theirs.Size != h.Size:
		return differ("world size", theirs.Size, h.Size)
	case theirs.Epoch != h.Epoch:
		return differ("epoch", theirs.Epoch, h.Epoch)
	case string(theirs.Session) != string(h.Session):
		return differ("session", digits(theirs.Session), digits(h.Session))
	case string(theirs.Digest) != string(h.Digest):
		return differ("configuration digest", digits(theirs.Digest), digits(h.Digest))
	case theirs.To != h.From:
		return differ("receiver", theirs.To, h.From)
	case theirs.From >= h.Size || theirs.From == h.From:
		return differ("rank", theirs.From, h.From)
	case theirs.Kind != kind:
		return differ("stream kind", theirs.Kind, kind)
	}
	return nil
}

// quoted and digits shorten what another program may have made long.
func quoted(s string) string { return fmt.Sprintf("%.40q", s) }

func digits(b []byte) string { return fmt.Sprintf("%.8x", b) }
