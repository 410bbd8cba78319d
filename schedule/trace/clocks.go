package trace

import (
	"errors"
	"time"
)

// Ping is one question and answer between two clocks: Sent and Returned are times of the asking
// clock, Received and Answered of the other.
type Ping struct {
	Sent, Received, Answered, Returned time.Time
}

// ErrNoPing says that an offset cannot be estimated: there is no ping whose answer took at least as
// long as the other clock says that it took to answer.
var ErrNoPing = errors.New("trace: no ping to estimate a clock's offset from")

// ClockOffset estimates how far the other clock is ahead of the asking clock, as NTP does (RFC
// 5905): the mean of the offsets of the two ways, of the ping that spent the least time on the way.
// The error is not larger than within, however unequal the two ways are. A ping in which a clock
// was set back is left out.
func ClockOffset(pings []Ping) (ahead, within time.Duration, err error) {
	best := time.Duration(-1)
	for _, p := range pings {
		way := p.Returned.Sub(p.Sent) - p.Answered.Sub(p.Received)
		if way < 0 || p.Answered.Before(p.Received) || best >= 0 && way >= best {
			continue
		}
		best = way
		// Without Round, times of one process would be compared by its monotonic clock, which has
		// no offset.
		there, back := p.Received.Round(0).Sub(p.Sent.Round(0)), p.Answered.Round(0).Sub(p.Returned.Round(0))
		ahead = there/2 + back/2
	}
	if best < 0 {
		return 0, 0, ErrNoPing
	}
	return ahead, best/2 + 1, nil
}
