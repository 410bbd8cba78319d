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

	// handshakePatience is how long a connection may take to say who it is.
	handshakePatience = secure.HandshakeTimeout
	// verdictLinger is how long rank 0 stays, after the job has failed, to tell ranks that come
	// late. Ranks that start together come within it, and nobody waits for longer than two seconds.
	verdictLinger = time.Second
	// departureGrace is how long a second claim to a rank waits for the first to be found gone: a
	// rank that lost its connection may be back before the loss is noticed.
	departureGrace = 200 * time.Millisecond
	// returnGrace is how long a rank whose connection ended may take to come back before it is
	// dead. A rank that is alive comes again within milliseconds.
	returnGrace = 500 * time.Millisecond
	// verdictGrace is how much longer than its own time a guest waits for rank 0's verdict, which
	// is due before.
	verdictGrace = 2 * time.Second
	// marginMost bounds what rank 0 keeps of the time of a rank, so that its verdict comes before
	// that rank gives up.
	marginMost = time.Second
	// resolvePatience bounds one question to the resolver.
	resolvePatience = 10 * time.Second
	// retryFirst and retryMost bound the pause between attempts to reach rank 0.
	retryFirst = 5 * time.Millisecond
	retryMost  = 250 * time.Millisecond
)

// Config says who this rank is and what it holds to be agreed.
type Config struct {
	// Rank is this rank, from 0 to Size-1; rank 0 is the one the others come to.
	Rank transport.Rank
	// Size is the number of ranks, at least 1.
	Size int
	// Addr is host:port at which rank 0 waits. A name is resolved anew for each attempt; until it
	// resolves, and until there is a route, ranks go on trying.
	Addr string
	// LocalSize is the number of ranks on this machine, this one included; 0 where that is not
	// known. Where it is Size, ranks meet on loopback.
	LocalSize int
	// Host is the address of this rank's own listener, without a port, for [LocalHost]; empty means
	// the address from which Addr is reached.
	Host string
	// Job names the job, at most 128 bytes.
	Job string
	// Listen is what the others are told of this rank: the address of its own listener.
	Listen string
	// Settings are what all ranks must share, at most 2 KiB as text.
	Settings map[string]string
	// Agent names who started this process, and Restart counts how often that has started it, where
	// a launcher says so. Of two processes of one agent that claim a rank, the one with the higher
	// count replaces the other.
	Agent   string
	Restart uint32
	// Timeout bounds the whole meeting; 0 means [DefaultTimeout]. The meeting ends when the time of
	// the first rank does: this, or the deadline of its context.
	Timeout time.Duration
	// Security says how ranks know each other. It permits an Addr that is not loopback.
	Security secure.Config
	// Insecure permits that without any security.
	Insecure bool
	// Net is how the network is used. Its zero value is the system's.
	Net Net
	// Log receives who came and was refused; nil is silent.
	Log *slog.Logger
}

// Table is what all ranks know after the meeting.
type Table struct {
	// Addrs holds the Listen of every rank.
	Addrs []string
	// Session is drawn at random by rank 0: it tells this meeting from every other.
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
			fault("Addr %q has port 0: ranks must know where to come", c.Addr)
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

// Meet brings all ranks together and returns what they know of each other. Every rank calls it with
// the same Addr, Job, Size and Settings. It is [Start] for ranks that have no connections to open.
func Meet(ctx context.Context, cfg Config) (Table, error) {
	m, err := Start(ctx, cfg)
	if err != nil {
		return Table{}, err
	}
	return m.Table, m.Finish(nil)
}

// Start brings all ranks together. [Meeting.Finish], which must follow, ends the meeting once every
// rank has opened its connections.
//
// Strangers, and ranks of another job, are dropped without harm. A second claimant to a rank is
// refused with [transport.ErrDuplicateRank], and the first goes on. Where a rank of this job
// disagrees about its size or settings, all ranks return one error under [transport.ErrMismatch]
// that names what differs and both values. All errors are *transport.Error with the operation
// "rendezvous".
//
// Ranks that have not come when time is up are named in an error under [transport.ErrTimeout] at
// every rank that waits. Time is up when that of the first rank is. A rank that comes and dies is
// named at once under [transport.ErrPeerDead], and one that gives up under
// [transport.ErrPeerClosed], by all others.
//
// A name that does not resolve, an address without a route and a port where nobody listens are
// tried until time is up; the error names the last failure.
//
// With Security, whoever does not prove to be a rank of the job is a stranger. A rank that is
// itself refused, or finds that rank 0 is not, fails at once under [secure.ErrUnauthenticated];
// rank 0 goes on, since anybody can be refused, and names the last refusal if ranks are missing in
// the end. A rank that comes with security to a rank 0 that has none fails the job for all, as
// other differences of configuration do.
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
	v := &visitor{cfg: cfg, mine: cfg.claim(), guard: guard, parent: ctx, begin: begin, until: cfg.deadline(ctx, begin)}
	if cfg.Rank == 0 {
		return receive(v)
	}
	return v.visit()
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

// deadline is when the time of a rank ends that has begun to wait.
func (c *Config) deadline(ctx context.Context, begin time.Time) time.Time {
	end := begin.Add(c.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		return d
	}
	return end
}

// margin is how much of the time that is left to a rank is kept for telling it how the meeting
// ended.
func margin(left time.Duration) time.Duration { return min(left/8, marginMost) }

// expired states that time is up, or that the caller has given up: what was waited for, for how
// long, and the last failure.
func (c *Config) expired(ctx context.Context, begin time.Time, what string, last error) error {
	waited := time.Since(begin).Round(time.Millisecond)
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s after %v: %w; last attempt: %w", what, waited, ctx.Err(), last)
	}
	err := fmt.Errorf("%s within %v: %w; last attempt: %w", what, waited, transport.ErrTimeout, last)
	return c.dated(ctx, begin, err)
}

// dated adds to err, which says that time was up, that it was the time of ctx if that is so.
func (c *Config) dated(ctx context.Context, begin time.Time, err error) error {
	if d, ok := ctx.Deadline(); ok && d.Before(begin.Add(c.Timeout)) {
		return beneath(err, context.DeadlineExceeded)
	}
	return err
}

// claim is what this rank says of itself.
func (c *Config) claim() claim {
	return claim{
		size: uint32(c.Size), rank: uint32(c.Rank), digest: Digest(c.Job, c.Settings),
		job: c.Job, listen: c.Listen, text: textOf(c.Settings), agent: c.Agent, restart: c.Restart,
	}
}

// disagreement says what mine and theirs, two claims of one job, differ in, or returns "".
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
