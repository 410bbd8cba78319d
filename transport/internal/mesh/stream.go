package mesh

import "errors"

// ErrAgain is what a stream answers when nothing can be read or written without waiting.
var ErrAgain = errors.New("would block")

// Stream is a stream of bytes to and from one peer, in order and whole, that is used without
// waiting. Reading has one user at a time, and so has writing; the two may be at work at once.
type Stream interface {
	// Read reads what is there into bufs, in order. None of them is empty. It returns ErrAgain or
	// io.EOF with 0.
	Read(bufs [][]byte) (int, error)
	// Write takes as much of bufs as there is room for, or returns ErrAgain with 0. more says that
	// a further call follows at once, so that a signal to the peer may wait for it.
	Write(bufs [][]byte, more bool) (int, error)
	// Flush sends on what Write has taken and the stream still holds back; ErrAgain means that some
	// of it remains.
	Flush() error

	// AwaitRead has s end its sleep when Read can do something, and reports whether it can already.
	// It is called after s has announced its sleep and a Read has come back with ErrAgain.
	AwaitRead(s *Sleeper) (ready bool)
	// AwaitWrite does the same for Write and Flush.
	AwaitWrite(s *Sleeper) (ready bool)

	// Finish ends the sending direction: the peer reads io.EOF after the last byte.
	Finish()
	// Unacked is the number of bytes written that the peer would not get if this process ended now,
	// as far as that is known.
	Unacked() int
	// Close frees the stream. No other call follows.
	Close()
}

// LowWater is a stream with a low-water mark: its reader can sleep until more than a byte has come.
type LowWater interface {
	// AwaitBytes is AwaitRead for a reader that knows of n bytes to come, at least 1: sleep need
	// not end before they are there, or as many of them as are worth waking for.
	AwaitBytes(s *Sleeper, n int) (ready bool)
}

// Sharer is a stream whose ends can read parts of each other's memory. A message that lies in such
// memory is sent in place: the stream carries where it lies, and it is copied once, from the
// sender's buffers into the receiver's.
type Sharer interface {
	Stream
	// Offset returns where b lies in the memory that the peer can read, if it does.
	Offset(b []byte) (offset uint64, ok bool)
	// View returns n bytes of the peer's memory at offset, or an error if it does not offer them.
	View(offset, n uint64) ([]byte, error)
	// Took tells the peer that another of its messages in place has been copied. Only the user of
	// Read calls it.
	Took()
	// Taken is how many of this rank's messages in place the peer has copied.
	Taken() uint64
	// AwaitTaken has s end its sleep when Taken grows, and reports whether it is n already.
	AwaitTaken(s *Sleeper, n uint64) (ready bool)
	// Revoke tells the peer that this rank's messages in place may change from now on.
	Revoke()
	// Revoked reports whether the peer has done so.
	Revoked() bool
}
