package transport

import "time"

const (
	// DefaultOpTimeout is how long one operation may wait where nothing else is said. It is far
	// above the time that one rank takes for a checkpoint or an evaluation while the others wait
	// for it, because it is not what finds deaths: those end a connection, or the signs of life,
	// and are found at once, or within seconds.
	DefaultOpTimeout = 30 * time.Minute

	// NoTimeout, like any negative value of an OpTimeout, has operations wait until their context
	// ends. It is for ranks that are idle for as long as nobody asks them, as those of a server
	// are.
	NoTimeout time.Duration = -1
)
