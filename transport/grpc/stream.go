package grpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// The names by which the streams are called.
const (
	serviceName   = "switchyard.transport.v1.Mesh"
	dataMethod    = "Data"
	controlMethod = "Control"
)

// maxControlBytes bounds a hello, an answer and a note. Frames of the control lane take 1.1 KiB at most.
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
	return s.SendMsg(&outbound{mem.BufferSlice{mem.SliceBuffer(b)}})
}

// receive receives one into m.
func (s *stream) receive(m proto.Message) error {
	var in inbound
	if err := s.RecvMsg(&in); err != nil {
		return printable.Error(err, maxText)
	}
	defer in.data.Free()
	if n := in.data.Len(); n > maxControlBytes {
		return fmt.Errorf("control message of %d bytes, limit %d: %w", n, maxControlBytes, transport.ErrProtocol)
	}
	if err := proto.Unmarshal(in.data.Materialize(), m); err != nil {
		return fmt.Errorf("%w: %w", transport.ErrProtocol, err)
	}
	return nil
}
