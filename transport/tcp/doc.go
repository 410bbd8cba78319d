// Package tcp is the transport between processes: a full mesh of TCP connections.
//
// # Connections
//
// Every pair of ranks shares two connections. The data lane carries messages and nothing else; the control
// lane carries heartbeats, farewells and aborts. They are apart so that a peer which is slow to take its
// messages, and therefore holds up the data lane, is still heard to be alive, and so that bad news overtakes
// the messages it makes pointless.
//
// # Progress without hand-offs
//
// No goroutine waits on a data lane for others. Whoever calls Send, Recv or Exchange reads and writes inline,
// without blocking, straight from and into the caller's buffers. When nothing moves the caller yields the
// processor a bounded number of times, so that the peers sharing the machine get to send what it waits for,
// and only then sleeps until a socket is ready. Where several calls wait for one peer, one of them holds the
// peer's reader role and delivers to the others. A message that nobody has asked for yet is kept, up to
// [Config.MaxUnexpectedBytes] a peer; beyond that its lane is not read, and the sender's socket fills up.
//
// # Wire
//
// Both lanes speak the frames of frame.go. A message is one or more frames of at most 1 MiB that follow
// each other directly. A lane opens with the fixed-size hello of hello.go in both directions.
//
// # Faults
//
// A control lane that ends without a farewell is a crash of that rank. Silence beyond [Config.DeadAfter] is a
// death. A rank whose transport breaks tells all its peers the culprit and the reason before any of its own
// calls return, so a rank that exits because of another is never blamed itself.
//
// # Limits
//
// A sleeping call occupies an operating-system thread while it holds a reader role or a half-written message.
// Messages of one pair of ranks share one stream: a message beyond the bound that nobody receives holds up
// those behind it, whatever their tags. Nothing is encrypted or authenticated: [Config.Insecure] must be set
// before anything but loopback is used.
package tcp
