package mpi

import (
	"runtime"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/matching"
)

// peer is the state of one rank. All of it is guarded by Transport.mu.
type peer struct {
	rank transport.Rank
	gone time.Time // when its farewell arrived; zero before

	// What came from it, or was announced. The bytes that are held are those of short messages.
	matching.Matcher[message, receive]

	owed   int    // bytes of room that have not been given back to it
	room   int    // bytes of short messages that it still keeps for us
	lastID uint64 // of the transfers announced to it
}

// message is one that arrived, or was announced, before its receive was posted.
type message struct {
	tag   transport.Tag
	bytes int
	id    uint64 // of the first transfer of an announced message; 0 if store holds it
	store []byte
}

// messageOverhead is what a short message counts beyond its bytes, so that empty ones are bounded
// too.
const messageOverhead = 64

// receive is one message that a call waits for.
type receive struct {
	call      *call
	peer      *peer
	tag       transport.Tag
	bufs      [][]byte
	room      int
	n         int
	id        uint64 // of the first transfer of the announced message
	transfers int    // that MPI has not ended
	state     recvState
	pin       *runtime.Pinner
}

type recvState uint8

const (
	recvIdle   recvState = iota
	recvPosted           // in the peer's queue
	recvMoving           // MPI has it, or is about to
	recvDone
)
