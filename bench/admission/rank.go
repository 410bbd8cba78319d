package admission

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// jobRank is one process of the job whose ports the clients connect to.
type jobRank struct {
	scratchDir
	security     string
	bytes, turns int
	turn         time.Duration
	place        rendezvous.Process
	memory       *memory
}

// rankReport is what a rank has seen. Memory is in bytes, 0 where it cannot be told.
type rankReport struct {
	Join               float64
	MeetBase, MeetPeak int64
	Turns              []turnReport
}

type turnReport struct {
	Exchanges int
	Seconds   float64
	PeakRSS   int64
}

func runRank(ctx context.Context, args []string, stderr io.Writer) int {
	var r jobRank
	f := flag.NewFlagSet("admission "+rankArg, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&r.dir, "dir", "", "where notes are left")
	f.StringVar(&r.security, "security", securityNone, "how ranks know each other")
	f.IntVar(&r.bytes, "bytes", 0, "bytes to each peer")
	f.IntVar(&r.turns, "turns", 0, "turns")
	f.DurationVar(&r.turn, "turn", 0, "time of a turn")
	err := f.Parse(args)
	if err == nil {
		r.place, err = rendezvous.Detect(rendezvous.Process{}, transports.Launched)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: admission %s is for bench itself: %v\n", rankArg, err)
		return harness.Misused
	}
	if err := r.run(ctx); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return harness.Failed
	}
	return 0
}

// run joins, late if this is the last rank, takes the turns and leaves a report.
func (r *jobRank) run(ctx context.Context) (err error) {
	last := int(r.place.Rank) == r.place.Size-1
	if last {
		if err := r.await(ctx, releaseName); err != nil {
			return err
		}
	}
	r.memory = watchMemory()
	defer r.memory.end()
	var report rankReport
	report.MeetBase = r.memory.now()
	t, joined, err := r.join(ctx, !last)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	report.Join = joined.Seconds()
	report.MeetPeak = r.memory.peak()
	x := transports.NewDirect(t).Exchange
	send, recv := make([]byte, r.bytes*r.place.Size), make([]byte, r.bytes*r.place.Size)
	for i := range r.turns {
		turn, err := r.take(ctx, i, x, send, recv)
		if err != nil {
			return err
		}
		report.Turns = append(report.Turns, turn)
	}
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return r.put(reportName(int(r.place.Rank)), string(text))
}

// join becomes a rank, and if asked tells meanwhile where this process listens.
func (r *jobRank) join(ctx context.Context, tell bool) (transport.Transport, time.Duration, error) {
	security, err := r.readSecurity(int(r.place.Rank))
	if err != nil {
		return nil, 0, err
	}
	done, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		if tell {
			r.tellListeners(done)
		}
	}()
	start := time.Now()
	t, err := tcp.Join(ctx, tcp.Config{
		Identity: r.place.Identity(),
		Limits:   transport.Limits{JoinTimeout: 10 * time.Minute},
		Security: security,
	})
	took := time.Since(start)
	close(done)
	<-told
	return t, took, err
}

// tellListeners notes where this process listens, once all is open.
func (r *jobRank) tellListeners(done <-chan struct{}) {
	want := 1
	if r.place.Rank == 0 {
		want = 2
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		open, known := listening()
		if !known && r.place.Rank == 0 {
			open = []string{r.place.Addr}
		}
		if len(open) >= want || !known {
			_ = r.put(listenName(int(r.place.Rank)), strings.Join(open, "\n"))
			return
		}
		select {
		case <-ticker.C:
		case <-done:
			return
		}
	}
}

// take exchanges for one turn. Rank 0 says when it begins and, in the first byte of what it sends,
// when it is over.
func (r *jobRank) take(ctx context.Context, i int, x func(ctx context.Context, send, recv []byte) error, send, recv []byte) (turnReport, error) {
	first := r.place.Rank == 0
	if first {
		if err := errors.Join(r.put(turnName(i), ""), r.await(ctx, goName(i))); err != nil {
			return turnReport{}, err
		}
	}
	setLast(send, r.bytes, 0)
	if err := x(ctx, send, recv); err != nil { // everybody begins with the first
		return turnReport{}, err
	}
	r.memory.reset()
	t := turnReport{}
	start := time.Now()
	for over := false; !over; t.Exchanges++ {
		if first && time.Since(start) >= r.turn {
			setLast(send, r.bytes, 1)
		}
		if err := x(ctx, send, recv); err != nil {
			return turnReport{}, err
		}
		over = recv[0] == 1
	}
	t.Seconds, t.PeakRSS = time.Since(start).Seconds(), r.memory.peak()
	return t, nil
}

// setLast writes the first byte of every block.
func setLast(send []byte, block int, b byte) {
	for at := 0; at < len(send); at += block {
		send[at] = b
	}
}

// parseListeners returns the listening addresses among the lines of /proc/net/tcp that belong to
// the given sockets.
func parseListeners(table string, mine map[string]bool) []string {
	const listens = "0A"
	var open []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != listens || !mine[f[9]] {
			continue
		}
		host, port, _ := strings.Cut(f[1], ":")
		ip, err := strconv.ParseUint(host, 16, 32)
		n, portErr := strconv.ParseUint(port, 16, 16)
		if err == nil && portErr == nil {
			// a little-endian machine writes it so
			addr := net.IPv4(byte(ip), byte(ip>>8), byte(ip>>16), byte(ip>>24))
			open = append(open, net.JoinHostPort(addr.String(), fmt.Sprint(n)))
		}
	}
	return open
}
