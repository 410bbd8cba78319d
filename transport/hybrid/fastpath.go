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
	// addr is where peers connect to.
	addr() string
	// open begins to open streams to peers, given by their addresses.
	open(ctx context.Context, m meshjoin.Meeting, peers map[transport.Rank]string, streams chan<- meshjoin.Opened)
	// withdraw keeps the stream to a peer of open from being opened.
	withdraw(r transport.Rank)
	// wait returns when the context of open has ended and nothing is under way.
	wait()
	alloc(n int) []byte
	free(b []byte) bool
	close()
}

// fastPath finds out which peers share memory with this rank, and opens streams to them. It
// implements meshjoin.FastPath.
type fastPath struct {
	rank    transport.Rank
	process string
	shared  sharer
	log     *slog.Logger
	ways    []Way
	nodes   []int // of each rank
	wg      sync.WaitGroup
	met     []string // the meetings in this process that this rank has come to
}

func newFastPath(cfg *Config, shared sharer) *fastPath {
	n := &fastPath{rank: cfg.Rank, process: cfg.process, shared: shared, log: cfg.Log, ways: make([]Way, cfg.Size)}
	if n.process == "" {
		n.process = processName()
	}
	for r := range n.ways {
		n.ways[r] = Network
	}
	n.ways[cfg.Rank] = InProcess
	return n
}

// notice is what ranks know of each other: process, host, addr.
type notice struct{ process, host, addr string }

func (n *fastPath) Notice() string {
	return strings.Join([]string{n.process, n.shared.host(), n.shared.addr()}, ",")
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

func (n *fastPath) Open(ctx context.Context, m meshjoin.Meeting, notices []string) ([]transport.Rank, <-chan meshjoin.Opened) {
	n.nodes = nodesOf(notices)
	streams := make(chan meshjoin.Opened)
	mine, _ := parseNotice(n.Notice())
	addrs := make(map[transport.Rank]string)
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
			addrs[r] = theirs.addr
		default:
			continue
		}
		peers = append(peers, r)
	}
	if len(addrs) > 0 {
		n.shared.open(ctx, m, addrs, streams)
	}
	n.wg.Go(func() { n.meetInside(ctx, m, inside, streams) })
	return peers, streams
}

// UseTCP has r be reached over TCP. Both ends say why, in their logs.
func (n *fastPath) UseTCP(r transport.Rank, why error) {
	n.shared.withdraw(r)
	n.ways[r] = Network
	if why == nil {
		why = errPeerChose
	}
	n.log.Warn("no shared memory with a rank of this machine, TCP is used instead", "rank", n.rank, "peer", r, "err", why)
}

// errPeerChose: it is the higher rank of two that finds out, and logs why.
var errPeerChose = errors.New("the peer could not share it")

func (n *fastPath) Wait() {
	n.shared.wait()
	n.wg.Wait()
}
