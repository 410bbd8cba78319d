package lockstep

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// statement is what a rank states about itself to one other. On the wire, big-endian:
//
//	 0  uint8   1 if the rank is in one operation alone, and has never been in two
//	 1  uint32  milliseconds for which it has been waiting for the receiver, or 0
//	 5  uint64  stream,
//	13  uint64  pass and
//	21  uint64  number of the operation that the receiver has stated, and that the sender
//	            has not begun; or 0
//	29  its operations: stream uint64, pass uint64, number uint64, doubtful uint8, length of
//	    the name uint8, name
//
// The statement of a rank that is in no operation is empty.
type statement struct {
	alone   bool
	waiting time.Duration
	behind  position
	ops     []operation
}

// position identifies an operation.
type position struct {
	stream       StreamID
	pass, number uint64
}

// position is that of o.
func (o *operation) position() position { return position{o.stream, o.pass, o.number} }

const (
	statementHead = 29
	operationHead = 26
	maxNameBytes  = 255
)

// encode returns s in at most transport.MaxStatement bytes: the last operations that do not fit are
// left out.
func (s *statement) encode() []byte {
	b := make([]byte, statementHead, 64)
	b[0] = flag(s.alone)
	binary.BigEndian.PutUint32(b[1:], uint32(min(s.waiting.Milliseconds(), 1<<32-1)))
	binary.BigEndian.PutUint64(b[5:], uint64(s.behind.stream))
	binary.BigEndian.PutUint64(b[13:], s.behind.pass)
	binary.BigEndian.PutUint64(b[21:], s.behind.number)
	for _, o := range s.ops {
		name := o.name[:min(len(o.name), maxNameBytes)]
		if len(b)+operationHead+len(name) > transport.MaxStatement {
			break
		}
		b = binary.BigEndian.AppendUint64(b, uint64(o.stream))
		b = binary.BigEndian.AppendUint64(b, o.pass)
		b = binary.BigEndian.AppendUint64(b, o.number)
		b = append(b, flag(o.doubtful), byte(len(name)))
		b = append(b, name...)
	}
	return b
}

// decode decodes what encode wrote.
func decode(b []byte) (s statement, err error) {
	if len(b) == 0 {
		return statement{}, nil
	}
	wrong := func() (statement, error) {
		return statement{}, fmt.Errorf("statement of %d bytes does not parse: %w", len(b), transport.ErrProtocol)
	}
	if len(b) < statementHead || len(b) > transport.MaxStatement || b[0] > 1 {
		return wrong()
	}
	s.alone = b[0] == 1
	s.waiting = time.Duration(binary.BigEndian.Uint32(b[1:])) * time.Millisecond
	word := binary.BigEndian.Uint64
	s.behind = position{StreamID(word(b[5:])), word(b[13:]), word(b[21:])}
	for rest := b[statementHead:]; len(rest) > 0; {
		if len(rest) < operationHead || rest[24] > 1 || len(rest) < operationHead+int(rest[25]) {
			return wrong()
		}
		end := operationHead + int(rest[25])
		s.ops = append(s.ops, operation{
			stream: StreamID(word(rest)), pass: word(rest[8:]), number: word(rest[16:]),
			doubtful: rest[24] == 1, name: string(rest[operationHead:end]),
		})
		rest = rest[end:]
	}
	return s, nil
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
