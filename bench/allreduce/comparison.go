package allreduce

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// contestant is a library, with the samples of its turns.
type contestant struct {
	who, version string
	algorithms   []string
	turn         func(ctx context.Context) ([][]sample, error) // by size and algorithm
	samples      [][][]sample                                  // by turn
}

// sample is what one turn saw of one size.
type sample struct {
	p50, p99        time.Duration
	faster          float64 // than direct, of ours
	crossing, wrong int
}

// comparison is a run of the command.
type comparison struct {
	options
	progress    io.Writer
	load        string
	leftOut     []string
	contestants []*contestant
	cluster     *netns.Cluster // nil for one node
}

// run makes the nodes, has the contestants take turns, and removes the nodes. What has been
// measured is in the contestants also after an error.
func (c *comparison) run(ctx context.Context) (err error) {
	c.load = harness.Load()
	ctx, cancel := context.WithTimeout(ctx, netns.RunLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "switchyard-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if c.Nodes > 1 {
		if c.cluster, err = netns.New(ctx, c.Nodes, c.Each, c.Rate); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.cluster.Remove()) }()
	}
	c.contestants = append(c.contestants, c.ours())
	if err := c.addPeers(ctx, dir); err != nil {
		return err
	}
	pace := harness.NewPace(c.progress, "allreduce", c.Rounds, c.expected())
	for round := range c.Rounds {
		pace.Next("round %d of %d", round+1, c.Rounds)
		for _, who := range c.contestants {
			samples, err := who.turn(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", who.who, err)
			}
			who.samples = append(who.samples, samples)
		}
	}
	return nil
}

// expected is about how long it takes: all sums, over links that the ranks of a node share.
func (c *comparison) expected() (all time.Duration) {
	rate := max(c.Rate, 1)
	if c.Rate == 0 || c.Nodes == 1 {
		rate = 20_000
	}
	for _, size := range c.Sizes {
		bits := 16 * float64(size) * float64(c.Each) // twice the vector, by each rank of a node
		once := time.Millisecond + time.Duration(bits/float64(rate)*1000)
		all += harness.Times(c.iterations(size)*(len(c.peers)+2), once)
	}
	return harness.Times(c.Rounds, all+2*time.Second)
}

// ours is switchyard.
func (c *comparison) ours() *contestant {
	us := &contestant{who: harness.Name, algorithms: formNames[:c.forms()]}
	us.turn = func(ctx context.Context) ([][]sample, error) {
		text, err := json.Marshal(c.options)
		if err != nil {
			return nil, err
		}
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command := []string{self, "allreduce", harness.RankArg, string(text)}
		if c.cluster != nil {
			command = c.cluster.Command(command...)
		}
		var out bytes.Buffer
		err = launch.Run(ctx, launch.Config{
			Ranks: c.ranks(), Command: command, Stdout: &out, Stderr: harness.UntilDone(ctx, c.progress), Grace: harness.QuitGrace,
		})
		if err != nil {
			return nil, err
		}
		reports, err := c.read(&out)
		if err != nil {
			return nil, err
		}
		us.version = reports[0].Version
		return c.collect(reports), nil
	}
	return us
}

// read reads what the ranks have said.
func (c *comparison) read(out io.Reader) ([]rankReport, error) {
	reports := make([]rankReport, c.ranks())
	for d, i := json.NewDecoder(out), 0; i < len(reports); i++ {
		var r rankReport
		if err := d.Decode(&r); err != nil {
			return nil, fmt.Errorf("a rank's report: %w", err)
		}
		if r.Rank < 0 || r.Rank >= len(reports) || len(r.Sizes) != len(c.Sizes) {
			return nil, fmt.Errorf("a report of rank %d with %d sizes", r.Rank, len(r.Sizes))
		}
		reports[r.Rank] = r
	}
	return reports, nil
}

// collect makes samples of what the ranks of a turn have seen.
func (c *comparison) collect(reports []rankReport) [][]sample {
	samples := make([][]sample, len(c.Sizes))
	for i := range samples {
		slowest := make([][]time.Duration, c.forms())
		samples[i] = make([]sample, c.forms())
		for f := range slowest {
			s := &samples[i][f]
			slowest[f] = slices.Clone(reports[0].Sizes[i][f].Took)
			for _, r := range reports {
				seen := r.Sizes[i][f]
				s.crossing, s.wrong = s.crossing+seen.Crossing, s.wrong+seen.Wrong
				for k, took := range seen.Took {
					slowest[f][k] = max(slowest[f][k], took)
				}
			}
			s.faster = pairedRatio(slowest[direct], slowest[f])
		}
		for f := range slowest {
			slices.Sort(slowest[f])
			samples[i][f].p50, samples[i][f].p99 = harness.Percentile(slowest[f], 0.5), harness.Percentile(slowest[f], 0.99)
		}
	}
	return samples
}

// pairedRatio is the median of a's times divided by b's.
func pairedRatio(a, b []time.Duration) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(a[i]) / float64(max(b[i], 1))
	}
	return median(ratios)
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// addPeers installs the MPIs that were asked for. What cannot be had is left out.
func (c *comparison) addPeers(ctx context.Context, dir string) error {
	if len(c.peers) == 0 {
		return nil
	}
	if err := peers.WriteSources(dir); err != nil {
		return err
	}
	for _, name := range c.peers {
		fmt.Fprintf(c.progress, "bench: installing %s\n", name)
		w, err := peers.InstallWheel(ctx, name)
		program := filepath.Join(dir, "allreduce-"+name)
		if err == nil {
			err = w.Build(ctx, filepath.Join(dir, "allreduce.c"), program)
		}
		if err != nil {
			c.leftOut = append(c.leftOut, fmt.Sprintf("%s is left out: %v", name, err))
			continue
		}
		p := &contestant{who: name, version: w.Version, algorithms: []string{"MPI_Allreduce"}}
		p.turn = func(ctx context.Context) ([][]sample, error) { return c.mpiTurn(ctx, w, program, dir) }
		c.contestants = append(c.contestants, p)
	}
	return ctx.Err()
}

// mpiTurn has an MPI run all sizes: mpirun runs on the first node, and reaches the others by a
// script in the place of ssh.
func (c *comparison) mpiTurn(ctx context.Context, w *peers.Wheel, program, dir string) ([][]sample, error) {
	args := []string{program}
	for _, size := range c.Sizes {
		args = append(args, fmt.Sprint(size/4), fmt.Sprint(c.iterations(size)))
	}
	command, env, err := w.Command(c.cluster, c.Nodes, c.Each, dir, args)
	if err != nil {
		return nil, err
	}
	var out, complaints bytes.Buffer
	err = launch.Run(ctx, launch.Config{
		Ranks: 1, Command: command, Env: env, Stdout: &out, Stderr: &complaints, Grace: harness.QuitGrace,
	})
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, harness.Quoted(complaints.String()+out.String()))
	}
	return c.readMPI(&out)
}

// readMPI reads what allreduce.c prints: for each size its 50th and 99th percentile in nanoseconds,
// and how many numbers were wrong.
func (c *comparison) readMPI(out io.Reader) ([][]sample, error) {
	var samples [][]sample
	for s := bufio.NewScanner(out); s.Scan(); {
		var count, p50, p99, wrong int
		if _, err := fmt.Sscanf(s.Text(), "sum %d %d %d %d", &count, &p50, &p99, &wrong); err != nil {
			continue // a warning of the MPI's
		}
		if i := len(samples); i >= len(c.Sizes) || count != c.Sizes[i]/4 {
			return nil, fmt.Errorf("it says %q", s.Text())
		}
		samples = append(samples, []sample{{p50: time.Duration(p50), p99: time.Duration(p99), wrong: wrong}})
	}
	if len(samples) != len(c.Sizes) {
		return nil, fmt.Errorf("it ended after %d of %d sizes", len(samples), len(c.Sizes))
	}
	return samples, nil
}
