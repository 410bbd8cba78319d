// Package matching pairs the messages that come from one rank with the receives that are posted for
// them. It is the engine of all transports; what differs between them stays with them: how bytes
// move, who copies them, and how callers are woken.
package matching

import (
	"fmt"
	"iter"

	"github.com/switchyard-moe/switchyard/transport"
)

// Matcher pairs messages of type M, which all come from one rank, with receives of type R. Messages
// and receives of one tag are paired in the order in which they came. A message may be given to
// [Matcher.Keep] before its bytes have come.
//
// A Matcher keeps its memory: once it has had as many values as now, up to some thousand, no call
// allocates. The zero value is empty, and [Matcher.Hold] has no room. The caller locks.
type Matcher[M, R any] struct {
	messages queue[M] // that no receive was posted for; of a tag that has no receives
	receives queue[R] // that no message has come for
	limit    int
	held     int
}

// SetLimit sets how many bytes [Matcher.Hold] accepts in total.
func (m *Matcher[M, R]) SetLimit(bytes int) { m.limit = bytes }

// Hold counts n more bytes of memory for messages that nobody has asked for, or reports that this
// would exceed the limit.
func (m *Matcher[M, R]) Hold(n int) bool {
	if n > m.limit-m.held {
		return false
	}
	m.held += n
	return true
}

// Release gives back n bytes that [Matcher.Hold] has counted.
func (m *Matcher[M, R]) Release(n int) { m.held -= n }

// Held is the number of bytes that are counted.
func (m *Matcher[M, R]) Held() int { return m.held }

// Post pairs r, which has room bytes, with the first message kept under tag, and returns that; it
// is kept no longer. If there is none, it posts r and returns nil. If the message is longer than
// room, it returns it with an error that wraps [transport.ErrTruncated]: the message is kept, and r
// is not posted.
func (m *Matcher[M, R]) Post(tag transport.Tag, room int, r *R) (*M, error) {
	first := m.messages.first(tag)
	if first == nil {
		m.receives.push(tag, room, r)
		return nil, nil
	}
	msg := first.value
	if first.size > room {
		return msg, tooLong(tag, first.size, room)
	}
	m.messages.pop(first)
	return msg, nil
}

// Arrive pairs a message of size bytes, which has come under tag, with the first receive posted for
// it, and returns that; it is posted no longer. If there is none it returns nil, and the caller may
// [Matcher.Keep] the message. If the message is longer than the receive has room for, it returns
// the receive with an error that wraps [transport.ErrTruncated], and the receive stays posted.
func (m *Matcher[M, R]) Arrive(tag transport.Tag, size int) (*R, error) {
	first := m.receives.first(tag)
	if first == nil {
		return nil, nil
	}
	r := first.value
	if size > first.size {
		return r, tooLong(tag, size, first.size)
	}
	m.receives.pop(first)
	return r, nil
}

func tooLong(tag transport.Tag, size, room int) error {
	return fmt.Errorf("message of %d bytes, tag %#x, room for %d: %w", size, uint64(tag), room, transport.ErrTruncated)
}

// Keep adds msg, of size bytes, as the last message under tag, for which [Matcher.Arrive] has just
// found no receive.
func (m *Matcher[M, R]) Keep(tag transport.Tag, size int, msg *M) { m.messages.push(tag, size, msg) }

// Withdraw takes r back, which was posted under tag, and reports whether it was still posted.
func (m *Matcher[M, R]) Withdraw(tag transport.Tag, r *R) bool { return m.receives.remove(tag, r) }

// Discard drops msg, which was kept under tag, and reports whether it was still kept.
func (m *Matcher[M, R]) Discard(tag transport.Tag, msg *M) bool { return m.messages.remove(tag, msg) }

// Posted is the number of posted receives.
func (m *Matcher[M, R]) Posted() int { return m.receives.length }

// Oldest is the receive that was posted first, or nil if none is posted.
func (m *Matcher[M, R]) Oldest() *R {
	if m.receives.oldest == nil {
		return nil
	}
	return m.receives.oldest.value
}

// Expecting is the first receive posted under tag, or nil.
func (m *Matcher[M, R]) Expecting(tag transport.Tag) *R {
	if first := m.receives.first(tag); first != nil {
		return first.value
	}
	return nil
}

// Receives visits all posted receives in the order of posting. The one that is being visited may
// be withdrawn.
func (m *Matcher[M, R]) Receives() iter.Seq[*R] { return m.receives.all }

// Messages visits all kept messages in the order of arrival. The one that is being visited may
// be discarded.
func (m *Matcher[M, R]) Messages() iter.Seq[*M] { return m.messages.all }
