// Package striped makes one transport of several: a lane for each connection, address or network
// card.
//
// # Blocks and stripes
//
// Of n lanes, [Config.Parity] = m carry parity and the other k = n - m carry data. A message is cut
// into blocks of k data stripes of at most [Config.StripeBytes]; m parity stripes are added by a
// systematic Reed-Solomon code over GF(2⁸) (Reed and Solomon, 1960;
// github.com/klauspost/reedsolomon), and stripe i travels on lane i. Any k stripes of a block give
// it back, so m lanes may be dead, slow or corrupting at any moment. m = 0 is plain multi-rail:
// every lane carries 1/n of each message, and every lane is needed.
//
// A message of less than k · [Config.MinStripe] bytes is not cut. It is sent whole on the m + 1
// lanes with the least to do; the first copy counts.
//
// # What it costs
//
// Bytes: (k + m) / k of a message that is cut, m + 1 times one that is not, and 64 bytes a stripe.
// Copies: one on each side, a stripe at a time and hence mostly within the processor's caches. A
// lane may stall for good in the middle of a stripe, and no caller could have its buffers back from
// it, so lanes are given only memory of this package.
//
// # Slow lanes
//
// Stripes wait for their lane in a queue of at most [Config.LaneBytes] for each peer. A lane whose
// queue is full while k others have drained theirs to half, and still is 2 ms later, lags: until
// its queue is empty it is passed over whenever it is full, so that its stripe of the block is not
// sent and counts as lost. What is in the queue keeps being sent, and tells when the lane has
// recovered, so there is nothing else to probe it with. A queue that is full while the others are
// full too is waited for. Stripes that come too late are dropped by the number of their message.
// While a lane is passed over, the blocks sent meanwhile have that much less protection.
//
// # Lanes
//
// Lanes are complete transports of the same rank and size, in the same order on all ranks; nothing
// else may use them. Each has a goroutine that receives, and one that sends, for every peer. An
// idle lane carries a sign of life every [Config.KeepAlive], so that its own bound on one operation
// (tcp.Config.OpTimeout) need only be above that and above the time that one stripe takes: half a
// minute, say, rather than that transport's default. A lane that is over that bound is dead, as is
// one that fails in any other way: it is logged and not used again. When more than m lanes are dead
// the transport breaks, with an error that names them and the rank that the last of them blames.
//
// # Checks
//
// A stripe carries its place (message, block, stripe), the message's tag and length, the shape of
// the code, and checksums of both header and payload, since the code itself verifies nothing. A
// corrupt stripe is a lost one. Between ranks there is one order of messages whatever their lanes:
// a message is matched when all before it, from the same rank, have been announced by at least one
// stripe.
//
// # Limits
//
// Messages of one pair of ranks share one stream: a message beyond [Config.MaxUnexpectedBytes] that
// nobody receives holds up those behind it, whatever their tags, and also the news that its sender
// has broken. A block of which more than m stripes are lost without a lane's error is not sent
// again: its receive ends with [transport.ErrTimeout].
package striped
