package mpi

// port is what the engine needs of MPI: short frames that arrive in order, and transfers straight
// between the callers' buffers. One goroutine at a time uses it, but for interrupt.
type port interface {
	// rank, size and crowded describe the job; crowded says that this machine runs more ranks than
	// they may use processors, by their affinity and their container's quota.
	rank() int
	size() int
	crowded() bool
	// tagLimit is the highest tag that a transfer may have; the lowest is 0.
	tagLimit() int
	// gather returns what all ranks, which call it at once, give it: as many bytes each.
	gather(mine []byte) ([]byte, error)
	// words says what a completion's code means.
	words(code int32) string
	// outbound is the memory of outgoing slot i, of outSlots; inbound that of incoming slot i. Each
	// has frameBytes.
	outbound(i int32) []byte
	inbound(i int32) []byte
	// turn starts what b asks for and polls, up to spins times, until something has happened or
	// interrupt was called since calm; patient says that what happens to outgoing frames is not
	// worth a return. What has is in b.arrivals and b.done. Arrivals' slots are free again at the
	// next turn.
	turn(b *batch, spins int, patient bool) error
	// cancel takes a receiving transfer back, and reports whether that was in time.
	cancel(id int32) (bool, error)
	// interrupt ends the turn under way early, and calm makes the port ready for the next
	// interrupt.
	interrupt()
	calm()
	// owned reports that close ends MPI itself, for which all ranks have to call it.
	owned() bool
	// close frees what the port holds. clean says that no message is under way from or to anybody.
	// owner, if it is not nil, knows of memory that is still in use, and stays for good.
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

// The kinds of a command. shim.h has the twins of these and of the three structs below.
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

// arrival is a frame that has come into incoming slot slot.
type arrival struct {
	slot, peer int32
	bytes      int64
}

// completion is the end of the request id: the bytes received, or MPI's code of what went wrong.
type completion struct {
	id, code int32
	bytes    int64
}

// batch is what passes between the engine and the port in one turn. There is room in done for every
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
