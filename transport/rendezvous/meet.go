package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

const (
	opName = "rendezvous"

	// DefaultTimeout is how long ranks wait for each other if Config does not say.
	DefaultTimeout = 60 * time.Second

	// handshakePatience is how long a connection may take to say who it is.
	handshakePatience = secure.Patience
	// verdictLinger is how long rank 0 stays, after the job has failed, to tell ranks that come late. Ranks that
	// start together come within it, and nobody waits for longer than two seconds.
	verdictLinger = time.Second
	// departureGrace is how long a second claim to a rank waits for the first to be found gone: a rank that lost
	// its connection may be back before the loss is noticed.
	departureGrace = 200 * time.Millisecond
	// verdictGrace is how much longer than rank 0 the others wait, so that they hear which ranks are missing.
	verdictGrace = 2 * time.Second
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
	// Addr is host:port at which rank 0 waits.
	Addr string
	// Job names the job, at most 128 bytes.
	Job string
	// Listen is what the others are told of this rank: the address of its own listener.
	Listen string
	// Settings are what all ranks must share, at most 2 KiB as text.
	Settings map[string]string
	// Timeout bounds the whole meeting; 0 means [DefaultTimeout].
	Timeout time.Duration
	// Security says how ranks know each other. It permits an Addr that is not loopback.
	Security secure.Config
	// Insecure permits that without any security.
	Insecure bool
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
	if c.Size > 1 {
		if err := CheckBind(c.Addr, c.Insecure || c.Security.Enabled()); err != nil {
			faults = append(faults, err)
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

// Meet brings all ranks together and returns what they know of each other. Every rank calls it with the same
// Addr, Job, Size and Settings.
//
// Strangers, and ranks of another job, are dropped without harm. A second claimant to a rank is refused with
// [transport.ErrDuplicateRank], and the first goes on. Where a rank of this job disagrees about its size or
// settings, all ranks return one error under [transport.ErrMismatch] that names what differs and both values.
// Ranks that have not come when time is up are named in an error under [transport.ErrTimeout]. All these are
// *transport.Error with the operation "rendezvous".
//
// With Security, whoever does not prove to be a rank of the job is a stranger. A rank that is itself refused, or finds
// that rank 0 is not, fails at once under [secure.ErrUnauthenticated]; rank 0 goes on, since anybody can be refused, and
// names the last refusal if ranks are missing in the end. A rank that comes with security to a rank 0 that has none
// fails the job for all, as other differences of configuration do.
func Meet(ctx context.Context, cfg Config) (Table, error) {
	if err := cfg.Validate(); err != nil {
		return Table{}, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Size == 1 {
		return Table{Addrs: []string{cfg.Listen}}, nil
	}
	guard, err := secure.NewGuard(cfg.Security, cfg.Job, cfg.Rank, cfg.Log)
	if err != nil {
		return Table{}, &transport.Error{Rank: cfg.Rank, Op: opName, Err: err}
	}
	v := visitor{cfg: cfg, mine: cfg.claim(), guard: guard}
	if cfg.Rank == 0 {
		return receive(ctx, &v)
	}
	return v.visit(ctx)
}

// claim is what this rank says of itself.
func (c *Config) claim() claim {
	return claim{
		size: uint32(c.Size), rank: uint32(c.Rank), digest: Digest(c.Job, c.Settings),
		job: c.Job, listen: c.Listen, text: textOf(c.Settings),
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

// interruptible makes conn fail when ctx ends. The returned function takes that back.
func interruptible(ctx context.Context, conn net.Conn) func() bool {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}
