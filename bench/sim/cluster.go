package sim

import (
	"errors"
	"flag"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

// cluster is the cluster that sim trains on. Times are in microseconds, as flags are.
type cluster struct {
	Nodes      int     `json:"nodes"`
	PerNode    int     `json:"per_node"`
	Alpha      float64 `json:"alpha_us"`
	Gbps       float64 `json:"gbps"`
	IntraAlpha float64 `json:"intra_alpha_us"`
	IntraGbps  float64 `json:"intra_gbps"`
	Launch     float64 `json:"launch_us"`
	TFLOPS     float64 `json:"tflops"`
	Noise      float64 `json:"noise"`
	Skew       float64 `json:"skew"`
	Straggler  float64 `json:"straggler"`
	SlowLink   float64 `json:"slow_link"`
	Seed       uint64  `json:"seed"`
}

func (c *cluster) define(f *flag.FlagSet) {
	f.IntVar(&c.Nodes, "nodes", 8, "nodes")
	f.IntVar(&c.PerNode, "per-node", 8, "ranks of a node")
	f.Float64Var(&c.Alpha, "alpha", 5, "`µs` to start a message to another node")
	f.Float64Var(&c.Gbps, "gbps", 200, "Gb/s of a node's link, shared by its ranks")
	f.Float64Var(&c.IntraAlpha, "intra-alpha", 3, "`µs` to start a message within a node")
	f.Float64Var(&c.IntraGbps, "intra-gbps", 900, "Gb/s of a rank's link within its node")
	f.Float64Var(&c.Launch, "launch", 10, "`µs` to start a matrix product")
	f.Float64Var(&c.TFLOPS, "tflops", 100, "TFLOP/s that a rank reaches")
	f.Float64Var(&c.Noise, "noise", 0.03, "relative spread of computing times")
	f.Float64Var(&c.Skew, "skew", 1.2, "rows of the most loaded node over the mean")
	f.Float64Var(&c.Straggler, "straggler", 1, "factor by which one rank computes more slowly")
	f.Float64Var(&c.SlowLink, "slow-link", 1, "factor by which one rank's link to other nodes is slower")
	f.Uint64Var(&c.Seed, "seed", 1, "seed of the noise and of who is loaded")
}

func (c *cluster) validate(m *model) error {
	var faults []error
	if c.Nodes < 1 || c.PerNode < 1 {
		faults = append(faults, fmt.Errorf("-nodes %d, -per-node %d; must be at least 1", c.Nodes, c.PerNode))
	}
	for _, v := range []struct {
		name  string
		value float64
		least float64
	}{
		{"-alpha", c.Alpha, 0}, {"-intra-alpha", c.IntraAlpha, 0}, {"-launch", c.Launch, 0}, {"-noise", c.Noise, 0},
		{"-skew", c.Skew, 1}, {"-straggler", c.Straggler, 1}, {"-slow-link", c.SlowLink, 1},
	} {
		if !(v.value >= v.least) || math.IsInf(v.value, 0) {
			faults = append(faults, fmt.Errorf("%s %v; must be at least %v", v.name, v.value, v.least))
		}
	}
	if !(c.Gbps > 0 && c.IntraGbps > 0 && c.TFLOPS > 0) {
		faults = append(faults, fmt.Errorf("-gbps %v, -intra-gbps %v, -tflops %v; must be above 0", c.Gbps, c.IntraGbps, c.TFLOPS))
	}
	if c.Nodes >= 1 && m.Experts > 0 && m.Experts < c.Nodes {
		faults = append(faults, fmt.Errorf("-experts %d for %d nodes; every node must have one", m.Experts, c.Nodes))
	}
	return errors.Join(faults...)
}

// costs returns the operations' costs in seconds: a start, and a multiply-add, byte or, of
// gradients, float32.
func (c *cluster) costs() *schedule.Costs {
	const micro, gigabit = 1e-6, 1e9 / 8
	nodes, ranks := float64(c.Nodes), float64(c.PerNode)
	gemm := schedule.Linear{Alpha: c.Launch * micro, Beta: 2 / (c.TFLOPS * 1e12)}
	inter := ranks / (c.Gbps * gigabit) // seconds a byte of one rank
	peers := (nodes - 1) / nodes        // of what is sent leaves the node
	all := schedule.Linear{Alpha: c.Alpha * micro * (nodes - 1), Beta: inter * peers}
	within := schedule.Linear{Alpha: c.IntraAlpha * micro * (ranks - 1), Beta: 1 / (c.IntraGbps * gigabit)}
	return &schedule.Costs{
		schedule.Dense: gemm, schedule.Route: gemm, schedule.Expert: gemm, schedule.Shared: gemm,
		schedule.Counts: all, schedule.Dispatch: all, schedule.Combine: all,
		schedule.Gather: within, schedule.Scatter: within,
		schedule.GradReduce: {Alpha: 2 * math.Log2(nodes) * c.Alpha * micro, Beta: 4 * 2 * inter * peers},
	}
}

// world returns the cluster to simulate.
func (c *cluster) world() *simulate.Cluster {
	w := &simulate.Cluster{Nodes: c.Nodes, PerNode: c.PerNode, Costs: *c.costs(), Watch: []int{0}}
	ranks := c.Nodes * c.PerNode
	if c.Straggler > 1 {
		w.Slow = oneSlow(ranks, c.Straggler)
	}
	if c.SlowLink > 1 {
		w.Link = oneSlow(ranks, c.SlowLink)
	}
	if c.Noise > 0 {
		w.Noise = func(step, layer, rank int, pass schedule.Pass) float64 {
			return 1 + c.Noise*math.Abs(c.normal(uint64(step), uint64(layer), uint64(rank), uint64(pass)+1))
		}
	}
	if c.Skew > 1 && c.Nodes > 1 {
		w.Load = c.load
	}
	return w
}

// load gives each layer a node, another each step, whose experts get Skew times the mean; the
// others share the rest.
func (c *cluster) load(step, layer, rank int) float64 {
	hot := int(hashOf(c.Seed, uint64(step), uint64(layer)) % uint64(c.Nodes))
	skew := min(c.Skew, float64(c.Nodes))
	if rank/c.PerNode == hot {
		return skew
	}
	return (float64(c.Nodes) - skew) / float64(c.Nodes-1)
}

// normal draws a number from the normal distribution by what it belongs to, the same each time.
func (c *cluster) normal(key ...uint64) float64 {
	const unit = 1.0 / (1 << 53)
	h := hashOf(append([]uint64{c.Seed}, key...)...)
	u := (float64(h>>11) + 0.5) * unit
	v := float64(hashOf(h)>>11) * unit
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*v)
}

// hashOf mixes numbers into one (the finaliser of SplitMix64 over each).
func hashOf(key ...uint64) uint64 {
	h := uint64(0)
	for _, k := range key {
		h += k + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// oneSlow returns factors of ranks of which the last is slow.
func oneSlow(ranks int, factor float64) []float64 {
	f := make([]float64, ranks)
	for r := range f {
		f[r] = 1
	}
	f[ranks-1] = factor
	return f
}
