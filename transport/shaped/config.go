package shaped

import (
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// DefaultUnclaimedBytes is the default of [Config.UnclaimedBytes].
	DefaultUnclaimedBytes = 1 << 20
	// DefaultCloseTimeout is the default of [Config.CloseTimeout].
	DefaultCloseTimeout = 2 * time.Second
)

// Config describes one rank's network card and the wire behind it. The zero value is a link without
// limits, which changes nothing.
type Config struct {
	// Bandwidth is how many bytes the card sends in a second to all its peers together. 0 is no
	// limit.
	Bandwidth int64
	// Burst is the size of the token bucket: how many bytes the card may send at once after a
	// pause. 0 is none: from the first byte on, n bytes take n/Bandwidth seconds.
	Burst int64
	// Latency is the time from the departure of a message's last byte until it can be received.
	Latency time.Duration
	// Jitter is the greatest additional latency of a message, uniformly distributed from 0.
	Jitter time.Duration
	// Seed determines the jitter of each message, by its receiver, tag and number alone.
	Seed uint64
	// Link reports which peers are behind the link, such as those on other nodes; the others are
	// reached directly. It is called once for each rank. nil means all of them. A rank always
	// reaches itself directly.
	Link func(peer transport.Rank) bool
	// UnclaimedBytes bounds the messages that have arrived at a peer and are not received: beyond
	// it Send waits. 0 means [DefaultUnclaimedBytes].
	UnclaimedBytes int
	// CloseTimeout bounds how long Close waits for peers to receive what has arrived. 0 means
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

// shapes reports whether c has any effect.
func (c *Config) shapes() bool { return c.Bandwidth > 0 || c.Latency > 0 || c.Jitter > 0 }
