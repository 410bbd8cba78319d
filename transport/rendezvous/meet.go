package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

const (
	opName = "rendezvous"

	// DefaultTimeout is how long ranks wait for each other if Config does not say.
	DefaultTimeout = 60 * time.Second

	// handshakeTimeout is how long a connection may take to identify itself.
	handshakeTimeout = secure.HandshakeTimeout
	// rejectGrace is how long rank 0 goes on, after the job has failed, to send the rejection to
	// ranks that come late. Ranks that start together come within it.
	rejectGrace = time.Second
	// departureGrace is how long a second claim to a rank waits for the end of the first: a rank
	// that lost its connection may connect again before rank 0 notices the loss.
	departureGrace = 200 * time.Millisecond
	// returnGrace is how long a rank whose connection ended may take to come back before it is
	// dead. A rank that is alive connects again within milliseconds.
	returnGrace = 500 * time.Millisecond
	// decisionGrace is how much longer than its own time a member waits for rank 0's decision,
	// which is due before.
	decisionGrace = 2 * time.Second
	// maxMargin bounds the part of a rank's time that rank 0 keeps, so that its decision arrives
	// before that rank gives up.
	maxMargin = time.Second
	// resolveTimeout bounds one name resolution.
	resolveTimeout = 10 * time.Second
	// minRetry and maxRetry bound the pause between attempts to reach rank 0.
	minRetry = 5 * time.Millisecond
	maxRetry = 250 * time.Millisecond
)

// Config describes this rank and what all ranks must agree on.
type Config struct {
	// Rank is this rank, from 0 to Size-1. The others connect to rank 0.
	Rank transport.Rank
	// Size is the number of ranks, at least 1.
	Size int
	// Addr is the host:port of rank 0. A name is resolved again for each attempt; until it
	// resolves, and until there is a route, ranks try again.
	Addr string
	// LocalSize is the number of ranks on this machine, this one included; 0 if that is not known.
	// If it equals Size, ranks meet on loopback.
	LocalSize int
	// Host is the address of this rank's own listener, without a port, for [LocalHost]; empty means
	// the address from which Addr is reached.
	Host string
	// Job names the job, at most 128 bytes.
	Job string
	// Listen is the address of this rank's own listener, which the others learn.
	Listen string
	// Settings are what all ranks must share, at most 2 KiB as text.
	Settings map[string]string
	// Agent names the agent that started this process, and Restart counts how often it has, if a
	// launcher says so. Of two processes of one agent that claim a rank, the one with the higher
	// count replaces the other.
	Agent   string
	Restart uint32
	// Timeout bounds the whole meeting; 0 means [DefaultTimeout]. The meeting ends at the earliest
	// end of a rank's Timeout or context.
	Timeout time.Duration
	// Security is how ranks authenticate each other. It permits an Addr that is not loopback.
	Security secure.Config
	// Insecure permits such an Addr without security.
	Insecure bool
	// Net provides the network. Its zero value is that of the system.
	Net Net
	// Log receives who joined and was refused; nil is silent.
	Log *slog.Logger
}

// Table is the result of a meeting, equal on all ranks.
type Table struct {
	// Addrs holds the Listen of every rank.
	Addrs []string
	// Session is a random number of rank 0 that identifies this meeting.
	Session [16]byte
}

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("rendezvous: "+format, args...))
	}
	if c.Size < 1 {
		fault("Size %d is below 1", c.Size)
	}
	if c.Rank < 0 || int(c.Rank) >= c.Size {
		fault("Rank %d is outside 0..%d", c.Rank, c.Size-1)
	}
	if len(c.Listen) > maxAddrBytes {
		fault("Listen has %d bytes, limit %d", len(c.Listen), maxAddrBytes)
	}
	if c.Timeout < 0 {
		fault("Timeout %v is negative", c.Timeout)
	}
	if len(c.Agent) > maxJobBytes {
		fault("Agent has %d bytes, limit %d", len(c.Agent), maxJobBytes)
	}
	if c.Size > 1 {
		host, port, err := splitAddr(c.Addr)
		ip, literal := parseHost(host)
		switch {
		case err != nil:
			faults = append(faults, err)
		case port == 0:
			fault("Addr %q has port 0: ranks must know where to connect", c.Addr)
		case literal && !ip.IsLoopback() && !c.open() && c.LocalSize != c.Size:
			fault("%w", notLoopback(c.Addr))
		}
	}
	if err := CheckTerms(c.Job, c.Settings); err != nil {
		faults = append(faults, err)
	}
	if err := c.Security.Validate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// Meet connects all ranks to rank 0 and returns their addresses. Every rank calls it with the same
// Addr, Job, Size and Settings. It is [Start] for ranks that have no connections to open.
func Meet(ctx context.Context, cfg Config) (Table, error) {
	m, err := Start(ctx, cfg)
	if err != nil {
		return Table{}, err
	}
	return m.Table, m.Finish(nil)
}

// Start connects all ranks to rank 0. [Meeting.Finish], which must follow, ends the meeting once
// every rank has opened its connections.
//
// Connections that are not of this job are dropped and do no harm. A second process that claims a
// rank is refused with [transport.ErrDuplicateRank], and the first goes on. If a rank of this job
// disagrees about its size or settings, all ranks return one error that wraps
// [transport.ErrMismatch] and names what differs and both values. All errors are *transport.Error
// with the operation "rendezvous".
//
// If ranks are missing when the first rank's time is up, every rank that waits returns an error
// that wraps [transport.ErrTimeout] and names them. If a rank joins and dies, all others return at
// once an error that names it and wraps [transport.ErrPeerDead]; if it gives up,
// [transport.ErrPeerClosed].
//
// A name that does not resolve, an address without a route and a port without a listener are tried
// until time is up; the error names the last failure.
//
// With Security, a connection that does not prove to be a rank of the job is dropped. A rank that
// is refused, or to which rank 0 does not prove its identity, fails at once with
// [secure.ErrUnauthenticated]; rank 0 goes on, since any program can be refused, and names the last
// refusal if ranks are missing in the end. A rank with security and a rank 0 without fail the job
// for all ranks, as other differences of configuration do.
func Start(ctx context.Context, cfg Config) (*Meeting, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if cfg.Size == 1 {
		return alone(ctx, Table{Addrs: []string{cfg.Listen}}), nil
	}
	guard, err := secure.NewGuard(cfg.Security, cfg.Job, cfg.Rank, cfg.Log)
	if err != nil {
		return nil, &transport.Error{Rank: cfg.Rank, Op: opName, Err: err}
	}
	begin := time.Now()
	c := &client{cfg: cfg, mine: cfg.claim(), guard: guard, parent: ctx, begin: begin, until: cfg.deadline(ctx, begin)}
	if cfg.Rank == 0 {
		return serve(c)
	}
	return c.join()
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Net = c.Net.WithDefaults()
	return c
}

// deadline is when a rank that began to wait at begin gives up.
func (c *Config) deadline(ctx context.Context, begin time.Time) time.Time {
	end := begin.Add(c.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		return d
	}
	return end
}

// margin is the part of the time left to a rank that is kept for sending it the outcome.
func margin(left time.Duration) time.Duration { return min(left/8, maxMargin) }

// expired is the error when time is up, or the caller has cancelled: it says what was waited for,
// for how long, and the last failure.
func (c *Config) expired(ctx context.Context, begin time.Time, what string, last error) error {
	waited := time.Since(begin).Round(time.Millisecond)
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s after %v: %w; last attempt: %w", what, waited, ctx.Err(), last)
	}
	err := fmt.Errorf("%s within %v: %w; last attempt: %w", what, waited, transport.ErrTimeout, last)
	return c.dated(ctx, begin, err)
}

// dated returns err, which says that time was up, and wraps context.DeadlineExceeded if the
// deadline of ctx was the reason.
func (c *Config) dated(ctx context.Context, begin time.Time, err error) error {
	if d, ok := ctx.Deadline(); ok && d.Before(begin.Add(c.Timeout)) {
		return withCause(err, context.DeadlineExceeded)
	}
	return err
}

// claim is what this rank states about itself.
func (c *Config) claim() claim {
	return claim{
		size: uint32(c.Size), rank: uint32(c.Rank), digest: Digest(c.Job, c.Settings),
		job: c.Job, listen: c.Listen, text: textOf(c.Settings), agent: c.Agent, restart: c.Restart,
	}
}

// disagreement returns what mine and theirs, two claims of one job, differ in, or "".
func disagreement(mine, theirs *claim) string {
	me, them := fmt.Sprintf("rank %d", mine.rank), fmt.Sprintf("rank %d", theirs.rank)
	if mine.size != theirs.size {
		return fmt.Sprintf("world size: %s has %d, %s has %d", me, mine.size, them, theirs.size)
	}
	if theirs.rank >= mine.size {
		return fmt.Sprintf("rank: %d is outside 0..%d", theirs.rank, mine.size-1)
	}
	if mine.digest == theirs.digest {
		return ""
	}
	a, errA := parseSettings(mine.text)
	b, errB := parseSettings(theirs.text)
	if d := difference(a, b, me, them); d != "" && errA == nil && errB == nil {
		return d
	}
	return fmt.Sprintf("configuration digest: %s has %x, %s has %x", me, mine.digest[:8], them, theirs.digest[:8])
}
