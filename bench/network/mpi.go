package network

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/peers"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// alltoallvName is what the outcome calls Open MPI's.
const alltoallvName = "MPI_Alltoallv"

// measureMPI times Open MPI's MPI_Alltoallv, there and back, over the counts of o's cases, on the
// cluster. mpirun runs on the first node, and reaches the others by a script in the place of ssh.
func (o *options) measureMPI(ctx context.Context, c *netns.Cluster) (rows []networkRow, err error) {
	dir, err := os.MkdirTemp("", "switchyard-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := peers.WriteSources(dir); err != nil {
		return nil, err
	}
	program, agent := filepath.Join(dir, "alltoallv"), filepath.Join(dir, "agent")
	if _, err := peers.Tool(ctx, "mpicc", "-std=gnu99", "-O2", "-o", program, program+".c"); err != nil {
		return nil, err
	}
	hosts, counts := filepath.Join(dir, "hosts"), filepath.Join(dir, "counts")
	if err := errors.Join(
		os.WriteFile(agent, []byte(c.Agent()), 0o700),
		os.WriteFile(hosts, []byte(o.hosts()), 0o600),
		os.WriteFile(counts, []byte(o.countsText()), 0o600),
	); err != nil {
		return nil, err
	}
	command := peers.Mpirun(o.Nodes * o.Each)
	command = append(command, "--hostfile", hosts, "--mca", "plm_rsh_agent", agent, "--mca", "btl", "tcp,vader,self",
		"--mca", "btl_tcp_if_include", netns.Network, "--mca", "oob_tcp_if_include", netns.Network, program, counts)
	var out, complaints bytes.Buffer
	if err := launch.Run(ctx, launch.Config{Ranks: 1, Command: c.OnFirst(command), Stdout: &out, Stderr: &complaints}); err != nil {
		return nil, fmt.Errorf("%s: %w%s", alltoallvName, err, harness.Quoted(complaints.String()))
	}
	return o.readMPI(&out)
}

// hosts lists the nodes as mpirun wants them.
func (o *options) hosts() string {
	var b strings.Builder
	for n := range o.Nodes {
		fmt.Fprintf(&b, "%s slots=%d\n", netns.Address(n), o.Each)
	}
	return b.String()
}

// countsText is what alltoallv.c reads.
func (o *options) countsText() string {
	ranks := o.Nodes * o.Each
	var b strings.Builder
	fmt.Fprintln(&b, ranks, len(o.cases(0)), o.Rounds)
	for i := range o.cases(0) {
		for r := range ranks {
			c := o.cases(r)[i]
			for to := range ranks {
				n := 0
				for _, rows := range c.counts.Rows[to*c.each : (to+1)*c.each] {
					n += rows
				}
				fmt.Fprint(&b, 4*c.dim*n, " ")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// readMPI makes rows of what alltoallv.c prints.
func (o *options) readMPI(out *bytes.Buffer) ([]networkRow, error) {
	cases := o.cases(0)
	there, back := make([][]time.Duration, len(cases)), make([][]time.Duration, len(cases))
	wrong := -1
	for s := bufio.NewScanner(out); s.Scan(); {
		var i int
		var t, b int64
		if _, err := fmt.Sscanf(s.Text(), "wrong %d", &wrong); err == nil {
			continue
		}
		if _, err := fmt.Sscan(s.Text(), &i, &t, &b); err != nil || i < 0 || i >= len(cases) {
			return nil, fmt.Errorf("%s says %q", alltoallvName, s.Text())
		}
		there[i], back[i] = append(there[i], time.Duration(t)), append(back[i], time.Duration(b))
	}
	if wrong < 0 {
		return nil, fmt.Errorf("%s ended early", alltoallvName)
	}
	var rows []networkRow
	for i, c := range cases {
		slices.Sort(there[i])
		slices.Sort(back[i])
		rows = append(rows, networkRow{
			Ranks: o.Nodes * o.Each, Each: o.Each, Rate: o.Rate, Case: c.Name, Bytes: c.Bytes, Algorithm: alltoallvName,
			Dispatch: harness.Microseconds(harness.Percentile(there[i], 0.5)), Combine: harness.Microseconds(harness.Percentile(back[i], 0.5)), Wrong: wrong,
		})
	}
	return rows, nil
}

// beside puts each case's row of MPI behind ours, with its regret to our fastest.
func beside(rows, peers []networkRow) []networkRow {
	var all []networkRow
	for _, p := range peers {
		best := 0.0
		for _, r := range rows {
			if r.Case == p.Case && r.Bytes == p.Bytes {
				all = append(all, r)
				if best == 0 || r.time() < best {
					best = r.time()
				}
			}
		}
		p.Regret = p.time()/best - 1
		all = append(all, p)
	}
	return all
}
