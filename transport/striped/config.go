package striped

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// maxLinks bounds the links of a transport: a stripe's number is a bit of a word.
	maxLinks = 64
	// maxStripeBytes bounds Config.StripeBytes: each link and peer has a buffer of that size.
	maxStripeBytes = 16 << 20
	// queuedStripes is how many full stripes a link's queue holds by default.
	queuedStripes = 8
)

// Config holds how messages are cut, and limits. The zero value is plain multi-rail, without
// parity.
type Config struct {
	// Parity is m, the number of links that may fail, stall or corrupt without harm; below the
	// number of links. All ranks must agree.
	Parity int
	// MinStripe is the least number of bytes of a stripe: a message of less than MinStripe for each
	// data link is sent whole, on Parity + 1 links. Default 4 KiB. All ranks must agree.
	MinStripe int
	// StripeBytes is the length of the longest stripe. Default 256 KiB, at most 16 MiB. All ranks
	// must agree.
	StripeBytes int
	// LinkBytes bounds the queue of one link to one peer, 128 bytes a stripe included. Default
	// eight stripes, at least four.
	LinkBytes int
	// Limits have the defaults of [transport.DefaultLimits], but Heartbeat, the time between signs
	// of life on an idle link, is 5 s. DeadAfter must not be set: the links find that a peer is
	// dead.
	transport.Limits

	// Log receives what happens to links; nil is silent.
	Log *slog.Logger
}

func defaultLimits() transport.Limits {
	d := transport.DefaultLimits()
	d.Heartbeat, d.DeadAfter = 5*time.Second, 0
	return d
}

// WithDefaults returns c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.MinStripe, 4<<10)
	orInt(&c.StripeBytes, 256<<10)
	orInt(&c.LinkBytes, queuedStripes*(c.StripeBytes+stripeOverhead))
	c.Limits = c.Limits.WithDefaults(defaultLimits())
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, and changes nothing.
func (c Config) Validate() error {
	faults := []error{c.Limits.Validate("striped", defaultLimits())}
	c = c.WithDefaults()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("striped: "+format, args...)) }
	if c.Parity < 0 || c.Parity >= maxLinks {
		fault("Parity %d is outside 0..%d", c.Parity, maxLinks-1)
	}
	if c.MinStripe < 1 {
		fault("MinStripe %d is below 1", c.MinStripe)
	}
	if c.StripeBytes < 1 || c.StripeBytes > maxStripeBytes {
		fault("StripeBytes %d is outside 1..%d", c.StripeBytes, maxStripeBytes)
	}
	if least := 4 * (c.StripeBytes + stripeOverhead); c.LinkBytes < least {
		fault("LinkBytes %d is below four stripes, %d", c.LinkBytes, least)
	}
	return errors.Join(faults...)
}

// validateLinks returns what is wrong with links under c.
func (c Config) validateLinks(links []transport.Transport) error {
	if len(links) < 1 || len(links) > maxLinks {
		return fmt.Errorf("striped: %d links, want 1 to %d", len(links), maxLinks)
	}
	var faults []error
	if c.Parity >= len(links) {
		faults = append(faults, fmt.Errorf("striped: Parity %d leaves none of %d links for data", c.Parity, len(links)))
	}
	for i, l := range links[1:] {
		if l.Rank() != links[0].Rank() || l.Size() != links[0].Size() {
			faults = append(faults, fmt.Errorf("striped: link %d is rank %d of %d, link 0 is rank %d of %d",
				i+1, l.Rank(), l.Size(), links[0].Rank(), links[0].Size()))
		}
	}
	return errors.Join(faults...)
}
