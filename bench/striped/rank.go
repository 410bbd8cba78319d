package striped

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/payload"
	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/striped"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

const (
	// rankArg is the argument by which striped starts itself as a rank.
	rankArg = harness.RankArg
	// warmup is the number of untimed rounds.
	warmup = 10
	// opTimeout is after which time a round that does not end counts as failed: far above any
	// throttled one.
	opTimeout = 5 * time.Second
	port      = 29400
)

// linkAddress is that of a rank's end of a link, in a network that only the two namespaces know.
func linkAddress(link, rank int) string { return fmt.Sprintf("10.213.%d.%d", link, rank+1) }

// rank is one process of striped.
type rank struct {
	me, links, parity, bytes, rounds int
}

func runRank(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var r rank
	flags := flag.NewFlagSet("striped "+rankArg, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&r.links, "links", 0, "links")
	flags.IntVar(&r.parity, "parity", 0, "links that carry parity")
	flags.IntVar(&r.bytes, "bytes", 0, "bytes a message")
	flags.IntVar(&r.rounds, "rounds", 0, "timed rounds")
	var err error
	if err = flags.Parse(args); err == nil {
		r.me, err = strconv.Atoi(os.Getenv("RANK"))
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: striped %s is for bench itself: %v\n", rankArg, err)
		return harness.Misused
	}
	t, err := r.join(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return harness.Failed
	}
	report := r.measure(ctx, t, stdout)
	_ = t.Close() // the error is that of a link that is down
	if err := json.NewEncoder(stdout).Encode(report); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return harness.Failed
	}
	return 0
}

// join opens a TCP connection over every link and stripes messages over them.
func (r *rank) join(ctx context.Context) (transport.Transport, error) {
	connections, errs := make([]transport.Transport, r.links), make([]error, r.links)
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			connections[i], errs[i] = tcp.Join(ctx, tcp.Config{
				Identity: rendezvous.Identity{
					Rank: transport.Rank(r.me), Size: 2, Job: fmt.Sprint("link ", i),
					Addr: net.JoinHostPort(linkAddress(i, 0), strconv.Itoa(port+i)),
				},
				Host:     linkAddress(i, r.me),
				Insecure: true, // nobody else is in these namespaces
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return striped.New(ctx, connections, striped.Config{Limits: transport.Limits{OpTimeout: opTimeout}, Parity: r.parity})
}

// measure sends messages there and back, and asks for the fault after a quarter of the timed
// rounds.
func (r *rank) measure(ctx context.Context, t transport.Transport, stdout io.Writer) stripedReport {
	report := stripedReport{Rank: r.me}
	pattern := make([]byte, payload.Length(r.bytes))
	payload.Fill(pattern, r.me)
	room := make([]byte, r.bytes)
	for i := range warmup + r.rounds {
		if i == warmup+r.rounds/4 && r.me == 0 {
			fmt.Fprintln(stdout, faultWord)
		}
		start := time.Now()
		err := r.round(ctx, t, pattern[payload.Offset(i):][:r.bytes], room)
		took := time.Since(start)
		if err != nil {
			report.Error = fmt.Sprintf("round %d of %d: %v", i-warmup+1, r.rounds, err)
			return report
		}
		if i >= warmup {
			report.Took = append(report.Took, took)
		}
		report.Wrong += payload.Check(room, 1-r.me, payload.Offset(i))
	}
	return report
}

// round is one message there and back: rank 0 begins.
func (r *rank) round(ctx context.Context, t transport.Transport, message, room []byte) error {
	peer := transport.Rank(1 - r.me)
	if r.me == 0 {
		if err := t.Send(ctx, peer, transports.Tag, message); err != nil {
			return err
		}
	}
	n, err := t.Recv(ctx, peer, transports.Tag, room)
	if err != nil {
		return err
	}
	if n != len(room) {
		return fmt.Errorf("a message of %d bytes, want %d", n, len(room))
	}
	if r.me == 1 {
		return t.Send(ctx, peer, transports.Tag, message)
	}
	return nil
}
