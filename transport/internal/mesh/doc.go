// Package mesh is the engine of the transports between processes: it matches, orders and moves
// messages over one stream of bytes for each peer, whatever that stream is made of.
//
// # Streams
//
// Every pair of ranks shares two streams. The data stream, a [Stream], carries messages and nothing
// else; the control stream, a net.Conn, carries heartbeats, farewells and aborts. They are separate
// so that a peer which is slow to take its messages, and therefore holds up the data stream, is
// still known to be alive, and so that an abort overtakes the messages that it makes pointless. The
// transports (tcp, shm, hybrid, grpc) open the streams; peers of one mesh may have streams of
// different kinds.
//
// # Progress without hand-offs
//
// No goroutine waits on a data stream for others. A call of Send, Recv or Exchange reads and
// writes inline, without blocking, straight from and into the caller's buffers. When nothing moves
// the caller yields the processor a bounded number of times, so that the peers sharing the machine
// get to send what it waits for, and only then sleeps until a stream is ready; on a machine where
// other programs compute it sleeps at once. If several calls wait for one peer, one of them
// holds the peer's reader role and delivers to the others. A message that nobody has asked for yet
// is kept, up to [Config.MaxUnexpectedBytes] a peer; beyond that its stream is not read, and the
// sender waits.
//
// # Wire
//
// Both streams speak the frames of frame.go. A message is one or more frames of at most 1 MiB that
// follow each other directly. If the ends of a stream share memory ([Sharer]), a message that lies
// in it is one frame that says where, and is read in place.
//
// # Faults
//
// A control stream that ends without a farewell is a crash of that rank. Silence beyond
// [Config.DeadAfter] is a death. A rank whose transport breaks sends all its peers the culprit and
// the reason before any of its own calls return, so a rank that exits because of another is never
// blamed itself.
//
// # Statements
//
// An operation that waits for long has the mesh bring a statement of what the rank's program is in
// ([transport.Program]) to all peers, over the control streams, who compare it with what they are
// in. A message that does not fit has its sender asked before it breaks the mesh, since programs
// that are out of step often meet with that first.
//
// # Limits
//
// A sleeping call occupies an operating-system thread while it holds a reader role or a
// half-written message. Messages of one pair of ranks share one stream: a message beyond the bound
// that nobody receives holds up those behind it, whatever their tags.
package mesh
