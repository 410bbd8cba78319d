package grpc

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// codecName is what content types call the codec.
const codecName = "switchyard"

// codec hands over bytes as they are. It does not copy: what is sent are the buffers that it is
// given, and what is received are gRPC's own, of which it keeps a reference.
type codec struct{}

// outbound is a message to send. gRPC frees the buffers when it has written them.
type outbound struct{ data mem.BufferSlice }

// inbound is a message that has come in. Its receiver frees the buffers.
type inbound struct{ data mem.BufferSlice }

// gRPC finds codecs in a registry that may be written to only while a program starts. There is no
// other way for a service on somebody else's server to have a codec of its own.
func init() { encoding.RegisterCodecV2(codec{}) }

func (codec) Name() string { return codecName }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*outbound)
	if !ok {
		return nil, fmt.Errorf("grpc: codec %s cannot send a %T", codecName, v)
	}
	return m.data, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*inbound)
	if !ok {
		return fmt.Errorf("grpc: codec %s cannot receive a %T", codecName, v)
	}
	data.Ref()
	m.data = data
	return nil
}
