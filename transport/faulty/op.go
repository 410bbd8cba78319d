package faulty

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// Direction is the direction of an operation.
type Direction uint8

// The directions.
const (
	Send Direction = iota + 1
	Recv
)

// String returns "send" or "recv".
func (d Direction) String() string {
	if d == Send {
		return "send"
	}
	return "recv"
}

// Op is one send or receive of a rank. Within an exchange each message is one; receives are
// numbered first, in the order of their lists.
type Op struct {
	// Rank is the rank of the operation.
	Rank transport.Rank
	// Dir is its direction.
	Dir Direction
	// Peer and Tag are those of the message.
	Peer transport.Rank
	Tag  transport.Tag
	// Seq numbers the operations of one rank, direction, peer and tag, from 1.
	Seq uint64
	// N numbers all operations of one rank, from 1.
	N uint64
	// Size is the length of a message to send, or of the buffers to receive one, in bytes.
	Size int
}

// String describes the operation: "rank 2: op 17: send #3 to rank 0, tag 5, 128 bytes".
func (o Op) String() string {
	side := "to"
	if o.Dir == Recv {
		side = "from"
	}
	return fmt.Sprintf("rank %d: op %d: %v #%d %s rank %d, tag %d, %d bytes", o.Rank, o.N, o.Dir, o.Seq, side, o.Peer, o.Tag, o.Size)
}

// draw returns random bits that depend only on the operation, the seed and a salt, not on other
// goroutines. N is left out, since it depends on them.
func (o *Op) draw(seed, salt uint64) uint64 {
	h := seed
	for _, part := range [...]uint64{uint64(o.Rank), uint64(o.Dir), uint64(o.Peer), uint64(o.Tag), o.Seq, salt} {
		h = mix(h ^ part)
	}
	return h
}

// mix is the finishing step of SplitMix64: every bit of x changes half the bits of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
