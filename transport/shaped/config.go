package shaped

import (
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// DefaultUnclaimedBytes is how far a receiver may be behind where [Config] does not say.
	DefaultUnclaimedBytes = 1 << 20
	// DefaultCloseTimeout is how long Close waits for receivers where [Config] does not say.
	DefaultCloseTimeout = 2 * time.Second
)

// Config describes one rank's network card and the wire behind it. The zero value is a link without
// limits, which changes nothing.
type Config struct {
	// Bandwidth is what the card sends in a second, in bytes, to all its peers together. 0 is no
	// limit.
	Bandwidth int64
	// Burst is how many bytes the card may send at once after a rest, as a token bucket of that
	// size. 0 is none: from the first byte on, n bytes take n/Bandwidth seconds.
	Burst int64
	// Latency is how long after its last byte has left a message can be received.
	Latency time.Duration
	// Jitter is up to how much longer, evenly distributed, it takes for some messages.
	Jitter time.Duration
	// Seed determines the jitter of each message, by its receiver, tag and number, whatever else
	// goes on.
	Seed uint64
	// Link tells which peers are behind the link, such as those on other nodes; the others are
	// reached directly. It is asked once for each rank. nil means all of them. A rank reaches
	// itself directly in any case.
	Link func(peer transport.Rank) bool
	// UnclaimedBytes bounds what has arrived at a peer and is not received: beyond it Send waits. 0
	// means [DefaultUnclaimedBytes].
	UnclaimedBytes int
	// CloseTimeout bounds how long Close waits for peers to take what has arrived. 0 means
	// [DefaultCloseTimeout].
	CloseTimeout time.Duration
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Bandwidth", c.Bandwidth}, {"Burst", c.Burst}, {"Latency", int64(c.Latency)}, {"Jitter", int64(c.Jitter)},
		{"UnclaimedBytes", int64(c.UnclaimedBytes)}, {"CloseTimeout", int64(c.CloseTimeout)},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("shaped: Config.%s is %d, want at least 0", f.name, f.value))
		}
	}
	if c.Burst > 0 && c.Bandwidth == 0 {
		faults = append(faults, fmt.Errorf("shaped: Config.Burst is %d without a Bandwidth", c.Burst))
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	if c.UnclaimedBytes == 0 {
		c.UnclaimedBytes = DefaultUnclaimedBytes
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = DefaultCloseTimeout
	}
	return c
}

// shapes reports whether c does anything.
func (c *Config) shapes() bool { return c.Bandwidth > 0 || c.Latency > 0 || c.Jitter > 0 }
