// Package transport moves bytes between the ranks of a job.
//
// A [Transport] is one rank's end of a full mesh: every rank can send a message to every rank,
// matched by (peer, tag) and in order within one such pair. Implementations live in folders of
// their own (inproc, tcp); package transporttest holds the conformance suite that each of them
// passes. Algorithms above this package take the interface and never name an implementation.
package transport

import "context"

// Rank numbers a member of the job, from 0 to Size-1.
type Rank int

// None is no rank, as in an [Error] whose culprit is unknown.
const None Rank = -1

// Tag distinguishes the messages between one pair of ranks. The low 48 bits are the caller's; the
// high 16 are a channel, 0 for the whole world, given by [Sub] to groups of ranks so that their
// traffic never mixes.
type Tag uint64

// TagBits is the number of low bits of a [Tag] that callers may use.
const TagBits = 48

// Transport is one rank's end of a full mesh of message channels.
//
// # Matching and order
//
// A message is received by the Recv that names its sender and its tag. Messages of one (sender,
// tag) arrive in the order in which they were sent; between different tags, or different senders,
// there is no order. Several Recv calls on one (sender, tag) are served in the order in which they
// were called. Any number of messages may be in flight, but no program may depend on buffering:
// Send may wait until the receiver calls Recv, and does so once a bounded amount of unexpected
// messages has been sent. Code in which ranks send to each other in a circle uses [Exchange], which
// never deadlocks if sends and receives match. A message to oneself is legal and is always
// buffered.
//
// # Ownership
//
// The buffers of Send belong to the transport until Send returns, and are not changed by it;
// afterwards the caller may overwrite them at once, whether or not the peer has received. The
// buffers of Recv belong to the transport until Recv returns. After an error their content is
// undefined, but they belong to the caller again. The transport keeps no reference to any buffer,
// nor to the slice that holds them, once the call has returned.
//
// # Scatter, gather and length
//
// A message is the concatenation of the buffers given to Send, and is spread over the buffers given
// to Recv in order; the two sides may cut it differently. Empty buffers, no buffers and messages of
// no bytes are legal: an empty message is delivered like any other. The length of a message is
// bounded only by int: transports cut it into pieces, and an announced length reserves no memory.
// Recv returns the message's length, which may be less than that of its buffers. A message longer
// than the buffers is an [ErrTruncated] and breaks the transport, because the two sides disagree
// about the message.
//
// # Concurrency
//
// All methods may be called from any number of goroutines at once. Sends on one (receiver, tag) by
// concurrent goroutines are whole, in any order.
//
// # Time and errors
//
// Every call ends: with success, or with an [*Error] that names a rank and the operation, at the
// latest when ctx ends or the transport's own deadline for an operation passes, whichever is first.
// It wraps context.Canceled, context.DeadlineExceeded, [ErrTimeout], [ErrPeerDead],
// [ErrCorrupt] or another sentinel of this package.
//
// A call whose ctx ends before any byte of its message has moved leaves the transport as it was.
// Any other error breaks the transport for good, since it is not known which bytes were in flight:
// every pending and later call on any peer returns the same error, and only Close is left. A rank
// whose transport breaks sends its peers the reason, so that all of them name the same culprit.
//
// # Close
//
// Close is idempotent, ends every pending call with [ErrClosed], and returns when no goroutine of
// the transport is left. Messages whose Send had returned before Close are still delivered to a
// peer that is receiving. A peer that waits for a message of a closed rank gets [ErrPeerClosed]
// naming it.
//
// A rank outside [0, Size) is a caller's mistake and panics.
type Transport interface {
	// Rank is this end's number.
	Rank() Rank
	// Size is the number of ranks, at least 1.
	Size() int
	// Send sends the concatenation of bufs to rank to under tag, and returns when bufs may be
	// reused.
	Send(ctx context.Context, to Rank, tag Tag, bufs ...[]byte) error
	// Recv receives the next message of rank from under tag into bufs, and returns its length in
	// bytes.
	Recv(ctx context.Context, from Rank, tag Tag, bufs ...[]byte) (int, error)
	// Close ends the transport and frees what it holds.
	Close() error
}

// Capabilities says what a transport can do beyond moving messages; a transport states them by
// implementing [Describer]. The zero value is that of a transport that does not.
type Capabilities struct {
	// Name is the transport's short name: "inproc", "tcp".
	Name string
	// SurvivesPeerLoss: the loss of a peer is reported as an error that names it, to every other
	// rank, and does not end the process.
	SurvivesPeerLoss bool
	// Encrypted: messages cannot be read on the way.
	Encrypted bool
	// Network: messages may leave the process, so WireBytes counts real traffic.
	Network bool
	// InPlace: peers read messages from memory of [Allocator] without a copy by the sender.
	InPlace bool
}

// Describer is implemented by transports that state their capabilities.
type Describer interface {
	Capabilities() Capabilities
}

// CapabilitiesOf returns the capabilities that t states, or the zero value.
func CapabilitiesOf(t Transport) Capabilities {
	if d, ok := t.(Describer); ok {
		return d.Capabilities()
	}
	return Capabilities{}
}

// Counter is implemented by transports that count what they move.
type Counter interface {
	// WireBytes is the number of payload bytes sent to other ranks since the start, without headers
	// and messages to oneself.
	WireBytes() uint64
}
