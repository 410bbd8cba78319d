package hybrid

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
)

// processName is a random name of this process, drawn once.
var processName = sync.OnceValue(func() string { return rand.Text()[:16] })

// sharer is the memory that a rank shares with its host; the empty one shares none.
type sharer interface {
	// host names what a peer must have in common, or is "" where nothing is shared.
	host() string
	// door is where peers come to.
	door() string
	// open begins to open lanes to peers, given by their doors.
	open(ctx context.Context, m meshjoin.Meeting, peers map[transport.Rank]string, lanes chan<- meshjoin.Opened)
	// forsake has no lane be opened to a peer of open any more.
	forsake(r transport.Rank)
	// wait returns when the context of open has ended and nothing is under way.
	wait()
	alloc(n int) []byte
	free(b []byte) bool
	close()
}

// near finds out who is near, and opens the ways. It implements meshjoin.FastPath.
type near struct {
	rank    transport.Rank
	process string
	shared  sharer
	log     *slog.Logger
	ways    []Way
	nodes   []int // of each rank
	wg      sync.WaitGroup
	met     []string // the meetings in this process that this rank has come to
}

func newNear(cfg *Config, shared sharer) *near {
	n := &near{rank: cfg.Rank, process: cfg.process, shared: shared, log: cfg.Log, ways: make([]Way, cfg.Size)}
	if n.process == "" {
		n.process = processName()
	}
	for r := range n.ways {
		n.ways[r] = Network
	}
	n.ways[cfg.Rank] = InProcess
	return n
}

// notice is what ranks know of each other: process, host, door.
type notice struct{ process, host, door string }

func (n *near) Notice() string {
	return strings.Join([]string{n.process, n.shared.host(), n.shared.door()}, ",")
}

// parseNotice reads what a peer has published. Whatever is wrong with it makes the peer no
// neighbour.
func parseNotice(s string) (notice, bool) {
	f := strings.Split(s, ",")
	if len(f) != 3 || f[0] == "" {
		return notice{}, false
	}
	return notice{f[0], f[1], f[2]}, true
}

// wayTo is the fastest way between two ranks; it is the same from both sides.
func wayTo(mine, theirs notice) Way {
	switch {
	case mine.process == theirs.process:
		return InProcess
	case mine.host != "" && mine.host == theirs.host:
		return SharedMemory
	}
	return Network
}

// nodesOf numbers what ranks share: a process, or memory of a host. Every rank finds the same
// numbers, ascending by the first rank of each.
func nodesOf(notices []string) []int {
	nodes, next := make([]int, len(notices)), 0
	of := make(map[string]int)
	for r, s := range notices {
		theirs, ok := parseNotice(s)
		names := []string{"process " + theirs.process, "host " + theirs.host}
		switch {
		case !ok:
			names = nil
		case theirs.host == "":
			names = names[:1]
		}
		nodes[r] = -1
		for _, name := range names {
			if node, known := of[name]; known {
				nodes[r] = node
				break
			}
		}
		if nodes[r] < 0 {
			nodes[r] = next
			next++
		}
		for _, name := range names {
			of[name] = nodes[r]
		}
	}
	return nodes
}

func (n *near) Open(ctx context.Context, m meshjoin.Meeting, notices []string) ([]transport.Rank, <-chan meshjoin.Opened) {
	n.nodes = nodesOf(notices)
	lanes := make(chan meshjoin.Opened)
	mine, _ := parseNotice(n.Notice())
	doors := make(map[transport.Rank]string)
	var peers, inside []transport.Rank
	for i, s := range notices {
		r := transport.Rank(i)
		theirs, ok := parseNotice(s)
		if r == n.rank || !ok {
			continue
		}
		n.ways[r] = wayTo(mine, theirs)
		switch n.ways[r] {
		case InProcess:
			inside = append(inside, r)
		case SharedMemory:
			doors[r] = theirs.door
		default:
			continue
		}
		peers = append(peers, r)
	}
	if len(doors) > 0 {
		n.shared.open(ctx, m, doors, lanes)
	}
	n.wg.Go(func() { n.meetInside(ctx, m, inside, lanes) })
	return peers, lanes
}

// UseTCP has r be reached over TCP. Both ends say why, in their logs.
func (n *near) UseTCP(r transport.Rank, why error) {
	n.shared.forsake(r)
	n.ways[r] = Network
	if why == nil {
		why = errPeerChose
	}
	n.log.Warn("no shared memory with a rank of this machine, TCP is used instead", "rank", n.rank, "peer", r, "err", why)
}

// errPeerChose: it is the higher rank of two that finds out, and logs why.
var errPeerChose = errors.New("the peer could not share it")

func (n *near) Wait() {
	n.shared.wait()
	n.wg.Wait()
}
