// Package striped combines several transports into one: a link for each connection, address or
// network card.
//
// # Blocks and stripes
//
// Of n links, [Config.Parity] = m carry parity and the other k = n - m carry data. A message is cut
// into blocks of k data stripes of at most [Config.StripeBytes]; m parity stripes are added by a
// systematic Reed-Solomon code over GF(2⁸) (Reed and Solomon, 1960;
// github.com/klauspost/reedsolomon), and stripe i travels on link i. A block is
// recovered from any k of its stripes, so m links may be dead, slow or corrupting at any moment.
// m = 0 is plain multi-rail: every link carries 1/n of each message, and every link is needed.
//
// A message of less than k · [Config.MinStripe] bytes is not cut. It is sent whole on the m + 1
// links with the least to do; the first copy counts.
//
// # What it costs
//
// Bytes: (k + m) / k of a message that is cut, m + 1 times one that is not, and 64 bytes a stripe.
// Copies: one on each side, a stripe at a time and hence mostly within the processor's caches. A
// link may stall for good in the middle of a stripe and keep its buffers, so links get only memory
// of this package.
//
// # Slow links
//
// Stripes wait for their link in a queue of at most [Config.LinkBytes] for each peer. A link lags
// if its queue is full while k others have drained theirs to half, and still is 2 ms later. Until
// its queue is empty, a lagging link is skipped whenever the queue is full: its stripe of the block
// is not sent and counts as lost. The stripes in the queue are still sent, and show when the link
// has recovered; there is no other probe. If all queues are full, the sender waits. Stripes that
// arrive too late are dropped by the number of their message. While a link is skipped, blocks have
// that much less protection.
//
// # Links
//
// Links are complete transports of the same rank and size, in the same order on all ranks; nothing
// else may use them. Each has a goroutine that receives, and one that sends, for every peer. An
// idle link carries a sign of life every [transport.Limits.Heartbeat], so that its own bound on one
// operation (tcp.Config.OpTimeout) need only be above that and above the time that one stripe
// takes: half a minute, say, rather than that transport's default. A link that exceeds that bound
// is dead, as is one that fails in any other way: it is logged and not used again. When more than m
// links are dead the transport breaks, with an error that names them and the rank that the last of
// them blames.
//
// # Checks
//
// A stripe carries its position (message, block, stripe), the message's tag and length, the shape
// of the code, and checksums of both header and payload, since the code itself verifies nothing. A
// corrupt stripe counts as lost. Messages between two ranks have one order over all links: a
// message is matched when at least one stripe of each earlier one from the same rank has arrived.
//
// # Limits
//
// Messages of one pair of ranks share one stream: a message beyond
// [transport.Limits.MaxUnexpectedBytes] that no receive asks for holds up those behind it, of all
// tags, and also the notice that its sender has failed. A block of which more than m stripes are
// lost without an error of a link is not sent again: its receive ends with [transport.ErrTimeout].
package striped
