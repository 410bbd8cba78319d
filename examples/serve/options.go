package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

const usage = `Serves the answers of a mixture-of-experts layer whose experts are spread over several ranks.

usage: go run ./examples/serve [flags]

Without a launcher it starts -ranks processes on this machine, and starts them again when one of
them dies. Under a launcher (torchrun, mpirun, Slurm, Kubernetes, examples/launch) each process is
one rank. Rank 0, the front, answers clients:

  POST /v1/eval    {"tokens": [[…], …]}, rows of -dim numbers; answered by the same shape
  GET  /healthz    200 while the process lives
  GET  /readyz     200 while requests are answered, else 503 with the reason
  GET  /metrics    counts in the text format of Prometheus

With -grpc it answers over gRPC too: switchyard.serve.v1.Evaluation of serve.proto, in
examples/serve/internal/servepb.

An answer depends on its tokens alone, never on the requests beside it, nor on the number of ranks.
SIGTERM or an interrupt to any rank ends the job when what was accepted has been answered.

Flags:
`

// options are the command line.
type options struct {
	model
	ranks, restarts int

	http, grpc string
	tokenFile  string
	open       bool
	secretFile string

	batchTokens int
	delay       time.Duration
	inFlight    int

	maxTokens, maxBody, maxHeader int
	queue, clientQueue            int
	rate                          float64
	burst                         int

	readTimeout, requestTimeout, passTimeout, drainTimeout, deadAfter time.Duration

	loadTime              time.Duration
	loadClients, killRank int
	url                   string

	token string // what -token-file holds
}

// parse reads the command line, and prints help to stdout where that is asked for.
func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.define(flags)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	}
	if err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if err := o.validate(); err != nil {
		return o, err
	}
	return o, o.readToken()
}

func (o *options) define(f *flag.FlagSet) {
	f.IntVar(&o.ranks, "ranks", 4, "processes to start where there is no launcher")
	f.IntVar(&o.restarts, "restarts", 100, "how often they are started again after one has died")
	f.IntVar(&o.dim, "dim", 8, "numbers in a token")
	f.IntVar(&o.experts, "experts", 8, "number of experts")
	f.IntVar(&o.hidden, "hidden", 32, "width of an expert")
	f.IntVar(&o.k, "k", 2, "experts that each token uses")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the parameters, without -checkpoint")
	f.StringVar(&o.checkpoint, "checkpoint", "", "folder of a checkpoint with the parameters, of which the latest is read")
	f.StringVar(&o.part, "part", "moe", "name of the layer in the checkpoint")

	f.BoolVar(&o.shareExperts, "share-experts", false, "have ranks with few rows compute rows of experts with many, where that takes less time; answers stay the same")

	f.StringVar(&o.http, "http", "127.0.0.1:8080", "address of the front for HTTP")
	f.StringVar(&o.grpc, "grpc", "", "address of the front for gRPC; empty: none")
	f.StringVar(&o.tokenFile, "token-file", "", "file with the bearer token that clients must send; empty: none needed")
	f.BoolVar(&o.open, "open", false, "without -token-file, allow addresses other than loopback")
	f.StringVar(&o.secretFile, "secret-file", "", "file with the secret that ranks of several machines share")

	f.IntVar(&o.batchTokens, "batch", 256, "most tokens in a batch")
	f.DurationVar(&o.delay, "delay", 2*time.Millisecond, "how long a request may wait for others to share its batch")
	f.IntVar(&o.inFlight, "in-flight", 2, "most batches on their way at a time")

	f.IntVar(&o.maxTokens, "max-tokens", 64, "most tokens in a request")
	f.IntVar(&o.maxBody, "max-body", 1<<20, "most bytes in the body of a request")
	f.IntVar(&o.maxHeader, "max-header", 16<<10, "most bytes in the header of a request")
	f.IntVar(&o.queue, "queue", 1024, "most requests at a time; one more gets 429")
	f.IntVar(&o.clientQueue, "client-queue", 512, "most requests of one client (an IP address) at a time")
	f.Float64Var(&o.rate, "rate", 0, "most requests a second of one client; 0: no limit")
	f.IntVar(&o.burst, "burst", 100, "requests that a client may send at once before -rate counts")

	f.DurationVar(&o.readTimeout, "io-timeout", 10*time.Second, "how long a client may take to send a request, or to read an answer")
	f.DurationVar(&o.requestTimeout, "timeout", 30*time.Second, "how long a request may wait for its answer")
	f.DurationVar(&o.passTimeout, "pass-timeout", time.Minute, "how long a batch may take before the job has failed")
	f.DurationVar(&o.drainTimeout, "drain", 30*time.Second, "how long what was accepted may take after SIGTERM")
	f.DurationVar(&o.deadAfter, "dead-after", 30*time.Second, "silence after which a rank counts as dead")

	f.DurationVar(&o.loadTime, "load", 0, "load test: ask for this long, check every answer, print rates; 0: serve")
	f.IntVar(&o.loadClients, "clients", 200, "with -load: clients at a time")
	f.StringVar(&o.url, "url", "", "with -load: the server to ask, which has the same model; empty: start one, at -http")
	f.IntVar(&o.killRank, "kill", -1, "with -load, without -url: the rank to kill after a third of the time; -1: none")
}

// validate reports every fault, in the order of the flags.
func (o *options) validate() error {
	var faults []error
	positive := func(name string, value int) {
		if value < 1 || value > math.MaxInt32 {
			faults = append(faults, fmt.Errorf("-%s %d: want 1 to %d", name, value, math.MaxInt32))
		}
	}
	for name, value := range map[string]int{
		"ranks": o.ranks, "dim": o.dim, "experts": o.experts, "hidden": o.hidden, "k": o.k,
		"batch": o.batchTokens, "in-flight": o.inFlight, "max-tokens": o.maxTokens, "max-body": o.maxBody,
		"max-header": o.maxHeader, "queue": o.queue, "client-queue": o.clientQueue, "burst": o.burst,
		"clients": o.loadClients,
	} {
		positive(name, value)
	}
	for name, value := range map[string]time.Duration{
		"io-timeout": o.readTimeout, "timeout": o.requestTimeout, "pass-timeout": o.passTimeout,
		"drain": o.drainTimeout, "dead-after": o.deadAfter,
	} {
		if value < time.Millisecond {
			faults = append(faults, fmt.Errorf("-%s %v: want 1ms or more", name, value))
		}
	}
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(o.delay < 0, "-delay %v: want 0 or more", o.delay)
	fault(o.restarts < 0, "-restarts %d: want 0 or more", o.restarts)
	fault(o.k > o.experts, "-k %d: there are %d experts", o.k, o.experts)
	fault(o.maxTokens > o.batchTokens, "-max-tokens %d: a request must fit into a batch of %d tokens (-batch)", o.maxTokens, o.batchTokens)
	fault(!(o.rate >= 0) || math.IsInf(o.rate, 0), "-rate %v: want 0 or more", o.rate)
	fault(o.loadTime < 0, "-load %v: want 0 or more", o.loadTime)
	fault(o.killRank >= o.ranks, "-kill %d: there are %d ranks", o.killRank, o.ranks)
	faults = append(faults, o.validateAddresses()...)
	slices.SortFunc(faults, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// validateAddresses refuses to serve other machines without a token, unless -open says so.
func (o *options) validateAddresses() (faults []error) {
	for name, addr := range map[string]string{"http": o.http, "grpc": o.grpc} {
		if name == "grpc" && addr == "" {
			continue
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			faults = append(faults, fmt.Errorf("-%s %q: want host:port: %w", name, addr, err))
			continue
		}
		if ip := net.ParseIP(host); o.tokenFile == "" && !o.open && host != "localhost" && !(ip != nil && ip.IsLoopback()) {
			faults = append(faults, fmt.Errorf("-%s %s serves other machines: set -token-file, or -open for everybody", name, addr))
		}
	}
	return faults
}

// minToken is the least length of a token: 16 characters of base64 are 96 bits.
const minToken = 16

// readToken reads -token-file.
func (o *options) readToken() error {
	if o.tokenFile == "" {
		return nil
	}
	text, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return fmt.Errorf("-token-file: %w", err)
	}
	o.token = strings.TrimSpace(string(text))
	if len(o.token) < minToken {
		return fmt.Errorf("-token-file %s: the token has %d characters, want %d or more", o.tokenFile, len(o.token), minToken)
	}
	return nil
}
