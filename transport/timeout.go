package transport

import "time"

const (
	// DefaultOpTimeout is how long one operation may wait by default. It is far above the time that
	// one rank takes for a checkpoint or an evaluation while the others wait for it. Dead ranks are
	// found earlier: their connection ends at once, or their signs of life stop.
	DefaultOpTimeout = 30 * time.Minute

	// NoTimeout, like any negative OpTimeout, lets operations wait until their context ends. It is
	// for ranks that may be idle for any time, as those of a server.
	NoTimeout time.Duration = -1
)
