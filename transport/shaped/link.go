package shaped

import (
	"math/bits"
	"time"
)

// link is a network card: a token bucket of burst bytes that fills at rate bytes a second. Its
// state is the time at which everything accepted so far would have left at the bare rate. After a
// pause that time may be in the past, by at most the time of burst bytes.
type link struct {
	rate  uint64        // bytes a second; 0 is no limit
	burst time.Duration // what burst bytes take at the rate
	free  time.Time
	rest  uint64 // of the divisions so far, in bytes·ns, so that no small message is free
}

// never is the longest time of a message: about three years.
const never = 1e17 * time.Nanosecond

func newLink(rate, burst int64) link {
	l := link{rate: uint64(rate)}
	if rate > 0 {
		l.burst = l.time(burst)
		l.rest = 0
	}
	return l
}

// time is the time of n bytes, rounded down to a nanosecond; the remainder is added to the next
// ones.
func (l *link) time(n int64) time.Duration {
	high, low := bits.Mul64(uint64(n), uint64(time.Second))
	low, carry := bits.Add64(low, l.rest, 0)
	if high+carry >= l.rate>>8 && high+carry > 0 {
		return never
	}
	whole, rest := bits.Div64(high+carry, low, l.rate)
	l.rest = rest
	return min(time.Duration(whole), never)
}

// send accepts n bytes after all earlier ones and returns when the last of them has left.
func (l *link) send(now time.Time, n int) time.Time {
	if l.rate == 0 {
		return now
	}
	if full := now.Add(-l.burst); l.free.Before(full) {
		l.free, l.rest = full, 0
	}
	l.free = l.free.Add(l.time(int64(n)))
	if l.free.Before(now) {
		return now
	}
	return l.free
}
