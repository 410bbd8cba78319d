// Package admission is a command of bench: it connects to the ports of a job with clients that do
// not belong to it, and times the job.
package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `Opens connections that do not belong to a job to its ports over TCP, and measures the cost.

usage: go run ./bench admission [flags]

Ranks are processes. The last of them is held back while clients connect, -rate a second, to the
rendezvous and to every rank's listener: they reset, are silent, or send HTTP, TLS, random bytes,
the protocol with wrong lengths, or a byte a second. After nine tenths of them the last rank joins,
among the others. Once all ranks are connected nothing listens. Then the ranks exchange messages, all
with all, in turns without and with clients at the same addresses. Exchanges a second are the
median over turns. Clients run on the same processors as the job and take their share of them.

RSS is the most that a rank's resident memory grew by: while ranks met, since before the first
client; while they exchanged, beyond the maximum of the turns without. The exit code is 1 if the job
does not form, or fails, or a client is not dropped within three seconds.

-json FILE writes one object: security, ranks, bytes, clients, rate, dropped, refused, max_held_s,
join_s, meet_rss, without, with (exchanges a second), ratio, run_rss.

Flags:
`

// rankArg is the argument by which the command starts itself as a rank.
const rankArg = harness.RankArg

// options are the flags of the command.
type options struct {
	ranks, bytes, count, rate, turns int
	security, sizeText, jsonFile     string
	short                            bool
}

func parseOptions(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("admission", flag.ContinueOnError)
	f.IntVar(&o.ranks, "ranks", 4, "number of ranks, 2 to 64")
	f.StringVar(&o.sizeText, "size", "64Ki", "bytes to each peer in an exchange")
	f.IntVar(&o.count, "clients", 10_000, "how many connect in each phase, 1 to 1000000; with -short 500")
	f.IntVar(&o.rate, "rate", 1000, "how many connect a second, 1 to 100000")
	f.IntVar(&o.turns, "turns", 5, "how many turns with clients, and as many without, 1 to 100; with -short 1")
	f.StringVar(&o.security, "security", securityNone, "none, secret or tls")
	f.BoolVar(&o.short, "short", false, "finish within seconds; the figures mean little then")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this file as a JSON object")
	if err := harness.ParseFlags(f, usage, args, stdout); err != nil {
		return o, err
	}
	if o.short {
		o.count, o.turns = min(o.count, 500), 1
	}
	return o, o.resolve()
}

func (o *options) resolve() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.ranks >= 2 && o.ranks <= 64, "-ranks %d: want 2 to 64", o.ranks)
	check(o.count >= 1 && o.count <= 1e6, "-clients %d: want 1 to 1000000", o.count)
	check(o.rate >= 1 && o.rate <= 1e5, "-rate %d: want 1 to 100000", o.rate)
	check(o.turns >= 1 && o.turns <= 100, "-turns %d: want 1 to 100", o.turns)
	check(slices.Contains(securities(), o.security), "-security %q: want one of %v", o.security, securities())
	var err error
	if o.bytes, err = harness.ParseSize(o.sizeText); err != nil {
		faults = append(faults, fmt.Errorf("-size: %w", err))
	}
	return errors.Join(faults...)
}

// Run runs the command with args, and returns its exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == rankArg {
		return runRank(ctx, args[1:], stderr)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "admission", err)
	}
	out, err := o.measure(ctx, stderr)
	if err == nil {
		out.write(stdout)
		err = out.fault()
	}
	if err == nil && o.jsonFile != "" {
		err = harness.WriteJSONLines(o.jsonFile, []*outcome{out})
	}
	return harness.Conclude(ctx, err, stderr)
}

// measure runs the job and the clients.
func (o *options) measure(ctx context.Context, progress io.Writer) (*outcome, error) {
	dir, err := os.MkdirTemp("", "switchyard-clients-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := o.writeSecurity(dir); err != nil {
		return nil, err
	}
	command, err := launch.Self("admission", rankArg, "-dir", dir, "-security", o.security,
		"-bytes", fmt.Sprint(o.bytes), "-turns", fmt.Sprint(2*o.turns), "-turn", o.turn().String())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var complaints bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		cfg := launch.Config{Ranks: o.ranks, Command: command, Stdout: &complaints, Stderr: &complaints, Grace: harness.QuitGrace}
		err := launch.Run(ctx, cfg)
		cancel()
		ended <- err
	}()
	out := &outcome{options: *o}
	clientsErr := out.sendClients(ctx, scratchDir{dir}, progress)
	if clientsErr != nil {
		cancel()
	}
	if err := <-ended; err != nil {
		return nil, fmt.Errorf("%w%s", errors.Join(err, clientsErr), harness.Quoted(complaints.String()))
	}
	return out, errors.Join(clientsErr, out.collect(dir))
}

// turn is how long one turn lasts: the clients are spread over the turns that have any.
func (o *options) turn() time.Duration {
	return time.Duration(o.count) * time.Second / time.Duration(o.rate*o.turns)
}

// sendClients sends clients that do not belong to the job: while the ranks meet, and in every other
// turn of the running job.
func (o *outcome) sendClients(ctx context.Context, b scratchDir, progress io.Writer) error {
	p := harness.NewPace(progress, "admission", 1+2*o.turns, 5*time.Second+harness.Times(o.count, time.Second)/time.Duration(o.rate)+harness.Times(2*o.turns, o.turn()))
	p.Next("%d clients while rank %d is awaited", o.count, o.ranks-1)
	for r := range o.ranks - 1 {
		if err := b.await(ctx, listenName(r)); err != nil {
			return err
		}
	}
	c := newClients(b, o.rate)
	c.send(ctx, o.count*9/10)
	if err := b.put(releaseName, ""); err != nil {
		return err
	}
	c.send(ctx, o.count-o.count*9/10)
	for i := range 2 * o.turns {
		if err := b.await(ctx, turnName(i)); err != nil {
			return err
		}
		p.Next("turn %d of %d", i+1, 2*o.turns)
		if err := b.put(goName(i), ""); err != nil {
			return err
		}
		if i%2 == 1 {
			c.send(ctx, o.count/o.turns)
		}
	}
	o.Dropped, o.Refused, o.MaxHeld = c.end()
	return nil
}

// collect reads what the ranks have seen.
func (o *outcome) collect(dir string) error {
	for r := range o.ranks {
		var seen rankReport
		text, err := os.ReadFile(filepath.Join(dir, reportName(r)))
		if err == nil {
			err = json.Unmarshal(text, &seen)
		}
		if err != nil {
			return fmt.Errorf("report of rank %d: %w", r, err)
		}
		o.add(r, &seen)
	}
	return nil
}
