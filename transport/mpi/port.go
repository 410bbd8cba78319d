package mpi

// port is the part of MPI that the engine uses: short frames that arrive in order, and transfers
// directly between the callers' buffers. Except for interrupt, one goroutine at a time uses it.
type port interface {
	// rank, size and crowded describe the job; crowded says that this machine runs more ranks than
	// they may use processors, by their affinity and their container's quota.
	rank() int
	size() int
	crowded() bool
	// tagLimit is the highest tag that a transfer may have; the lowest is 0.
	tagLimit() int
	// gather returns the bytes of all ranks. All call it at once with the same length.
	gather(mine []byte) ([]byte, error)
	// words returns the meaning of a completion's code.
	words(code int32) string
	// outbound is the memory of outgoing slot i, of outSlots; inbound that of incoming slot i. Each
	// has frameBytes.
	outbound(i int32) []byte
	inbound(i int32) []byte
	// turn starts the commands of b and polls, up to spins times, until there is an event or
	// interrupt was called since calm. If patient, events of outgoing frames do not count. The
	// events are in b.arrivals and b.done. The slots of arrivals are free again at the next turn.
	turn(b *batch, spins int, patient bool) error
	// cancel cancels a receiving transfer, and reports whether it was in time.
	cancel(id int32) (bool, error)
	// interrupt ends the turn under way early, and calm makes the port ready for the next
	// interrupt.
	interrupt()
	calm()
	// owned reports that close finalizes MPI, for which all ranks must call it.
	owned() bool
	// close frees the port. clean says that no message is under way from or to any rank. owner, if
	// not nil, refers to memory that is still in use, and is kept for good.
	close(clean bool, owner any) error
}

const (
	outSlots   = 64
	inSlots    = 64
	frameBytes = headerBytes + maxEager
	// maxCommands bounds a turn's commands, maxEvents its arrivals.
	maxCommands = outSlots
	maxEvents   = inSlots
)

// The kinds of a command. shim.h has the same constants, and the structs below.
const (
	sendFrame int32 = iota
	sendData
	recvData
)

// command asks for one request. A frame's memory is outgoing slot first; data are count pieces from
// first on.
type command struct {
	kind, peer, tag, id int32
	bytes               int64
	first, count        int32
}

// piece is a part of a message in a caller's memory, which is pinned as long as the request is
// under way.
type piece struct {
	base  uintptr
	bytes int64
}

// arrival is a frame that has arrived in incoming slot slot.
type arrival struct {
	slot, peer int32
	bytes      int64
}

// completion is the end of the request id: the bytes received, or MPI's error code.
type completion struct {
	id, code int32
	bytes    int64
}

// batch is the commands and events of one turn. There is room in done for every
// request that is under way or asked for.
type batch struct {
	commands []command
	pieces   []piece
	arrivals []arrival
	done     []completion
}

func newBatch() *batch {
	return &batch{
		commands: make([]command, 0, maxCommands),
		arrivals: make([]arrival, 0, maxEvents),
	}
}
