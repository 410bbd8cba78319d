package grpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
)

// The names by which the streams are called.
const (
	serviceName   = "switchyard.transport.v1.Mesh"
	dataMethod    = "Data"
	controlMethod = "Control"
)

// maxControlBytes bounds a hello, an answer and a note. Frames of the control stream take 1.1 KiB
// at most.
const maxControlBytes = 4 << 10

// stream is either end of a bidirectional stream.
type stream struct {
	messages
	// end ends the stream at once, whatever is under way on it.
	end func()
}

// messages is what both ends of a stream can do.
type messages interface {
	Context() context.Context
	SendMsg(m any) error
	RecvMsg(m any) error
}

var (
	_ messages = grpc.ClientStream(nil)
	_ messages = grpc.ServerStream(nil)
)

// send sends a message of the control plane.
func (s *stream) send(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return explained(s.SendMsg(&outbound{mem.BufferSlice{mem.SliceBuffer(b)}}))
}

// paddingField is the number of a field that no message has.
const paddingField = 15

// greet sends a Hello or an Answer. On the data stream it is as long as the longest chunk, so that
// a server which takes less is found before anything depends on it.
func (s *stream) greet(m proto.Message, kind controlpb.StreamKind) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if kind == dataStream {
		b = protowire.AppendTag(b, paddingField, protowire.BytesType)
		left := chunkBytes - len(b)
		b = protowire.AppendBytes(b, make([]byte, left-protowire.SizeVarint(uint64(left))))
	}
	return explained(s.SendMsg(&outbound{mem.BufferSlice{mem.SliceBuffer(b)}}))
}

// receive receives one into m.
func (s *stream) receive(m proto.Message) error { return s.receiveWithin(m, maxControlBytes) }

// greeted receives a Hello or an Answer.
func (s *stream) greeted(m proto.Message, kind controlpb.StreamKind) error {
	if kind == dataStream {
		return s.receiveWithin(m, chunkBytes)
	}
	return s.receive(m)
}

func (s *stream) receiveWithin(m proto.Message, limit int) error {
	var in inbound
	if err := s.RecvMsg(&in); err != nil {
		return explained(printable.Error(err, maxText))
	}
	defer in.data.Free()
	switch n := in.data.Len(); {
	case n == 0: // which is none of ours
		return fmt.Errorf("%s: empty message: %w", noForcedCodec, errOption)
	case n > limit:
		return fmt.Errorf("control message of %d bytes, limit %d: %w", n, limit, transport.ErrProtocol)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(in.data.Materialize(), m); err != nil {
		return fmt.Errorf("%w: %w", transport.ErrProtocol, err)
	}
	return nil
}
