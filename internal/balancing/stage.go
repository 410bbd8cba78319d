// Package balancing is the stage of a layer that has other ranks compute rows of experts whose
// home, the rank that hosts them, has too many.
//
// A planner decides by the counts of all ranks which run of an expert's leaves which rank computes.
// The parameters of such an expert go from its home to the helpers while the rows travel, and in
// the backward pass the gradient of each run comes home, as one sum for each complete subtree of
// the tree of leaves. Home puts them together in the order of that tree. So outputs, gradients and
// parameters have the bits that they have without.
package balancing

import (
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config describes the ranks of one copy of the experts.
type Config struct {
	// View connects them, and carries nothing else.
	View transport.Transport
	// Placement says which experts each of them hosts, and Experts is those hosted here.
	Placement alltoall.Placement
	Experts   *experts.Stage
	// Slots is how many experts' parameters are kept for later passes besides those that passes use.
	Slots int
	// Decide makes the allocation of a pass from the counts of all ranks, and says what it does.
	// gradients tells that those of the experts' parameters are wanted. It is called by one goroutine
	// at a time, and is the same on every rank.
	Decide func(l *alltoall.Loads, train, gradients bool) (alltoall.Allocation, Stats, error)
}

// Stage shares experts out in the passes of a layer. Any number of passes may be under way, on any
// goroutines; Changed is called while none is. A nil Stage shares nothing out.
type Stage struct {
	cfg     Config
	numbers int // parameters of an expert
	sums    freelist.List[tree.Sum]

	deciding sync.Mutex

	mu      sync.Mutex
	version uint64          // of the parameters hosted here: the number of their changes, from 1
	kept    map[int]*values // by expert, for later passes
	spare   [][]float32     // vectors of numbers elements
	rates   [2]rate         // of evaluation and training
}

// New returns a stage.
func New(cfg Config) (*Stage, error) {
	if n := int64(cfg.Placement.Experts()); n > mostExperts {
		return nil, fmt.Errorf("switchyard: Config.Balance: %d experts, want at most %d", n, mostExperts)
	}
	numbers, err := cfg.Experts.Numbers()
	return &Stage{cfg: cfg, numbers: numbers, version: 1, kept: map[int]*values{}}, err
}

// Changed notes that parameters hosted here have other values than in the passes before.
func (s *Stage) Changed() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
}

// rank is this one in the copy of the experts.
func (s *Stage) rank() int { return int(s.cfg.View.Rank()) }

// own returns where an expert that is hosted here stands among those.
func (s *Stage) own(e int) int {
	first, _ := s.cfg.Placement.Of(s.rank())
	return e - first
}

// fault blames a rank of the copy.
func (s *Stage) fault(rank int, op, format string, args ...any) error {
	return &transport.Error{
		Rank: transport.Joined(s.cfg.View, transport.Rank(rank)), Op: op, Err: fmt.Errorf(format, args...),
	}
}
