package mesh

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// waiterFor is a receive of tag with room bytes of room, which nobody waits for.
func waiterFor(tag transport.Tag, room int) *waiter {
	return &waiter{tag: tag, room: room, bufs: [][]byte{make([]byte, room)}}
}

// arrives has a message come for which no receive is posted.
func (m *matching) arrives(tag transport.Tag, body string, complete bool) *message {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.admit(messageOverhead + len(body)) {
		return nil
	}
	msg := m.spare.get(tag, len(body))
	copy(msg.grow(len(body)), body)
	msg.complete = complete
	m.enqueue(msg)
	return msg
}

func TestMatchingKeepsTheOrderOfEachTag(t *testing.T) {
	m := matching{limit: 1 << 20}
	for _, body := range []string{"one", "two", "three"} {
		m.arrives(1, body, true)
	}
	m.arrives(2, "other", true)
	for _, want := range []string{"one", "two", "three"} {
		w := waiterFor(1, 8)
		msg, truncated := m.post(w)
		require.False(t, truncated)
		msg.copyTo(w)
		require.Equal(t, want, string(w.bufs[0][:w.n]))
		require.False(t, m.free(msg))
	}
	require.Len(t, m.arrived, 1, "the queue of tag 1 is gone")
	msg, _ := m.post(waiterFor(2, 8))
	require.NotNil(t, msg)
	m.free(msg)
	require.Zero(t, m.held)
}

func TestMatchingTakesPostedReceivesInOrder(t *testing.T) {
	var m matching
	first, other, second := waiterFor(1, 8), waiterFor(2, 8), waiterFor(1, 8)
	for _, w := range []*waiter{first, other, second} {
		msg, truncated := m.post(w)
		require.Nil(t, msg)
		require.False(t, truncated)
	}
	require.Same(t, other, m.posted.take(2))
	require.Same(t, first, m.posted.take(1))
	require.Same(t, second, m.posted.take(1))
	require.Nil(t, m.posted.take(1))
	m.posted.push(other)
	require.Same(t, other, m.posted.take(2), "the emptied list can be used again")
}

func TestWithdrawOnlyBeforeTheMessageBegins(t *testing.T) {
	var m matching
	a, b, c := waiterFor(1, 8), waiterFor(1, 8), waiterFor(1, 8)
	for _, w := range []*waiter{a, b, c} {
		m.post(w)
	}
	require.True(t, m.withdraw(c), "the last")
	require.False(t, m.withdraw(c), "once")
	require.Same(t, a, m.posted.take(1))
	a.started = true
	require.False(t, m.withdraw(a), "its message has begun")
	require.True(t, m.withdraw(b))
	require.Equal(t, waiterList{}, m.posted)
}

// TestWithdrawAgainstAMessageThatIsStillComing: the receive that has asked for it cannot be taken
// back, and a second one of the tag waits behind it.
func TestWithdrawAgainstAMessageThatIsStillComing(t *testing.T) {
	m := matching{limit: 1 << 20}
	half := m.arrives(1, "half", false)
	w, next := waiterFor(1, 8), waiterFor(1, 8)
	msg, truncated := m.post(w)
	require.Nil(t, msg)
	require.False(t, truncated)
	require.Same(t, w, half.taker)
	require.Equal(t, 4, w.n)
	require.False(t, m.withdraw(w))
	msg, _ = m.post(next)
	require.Nil(t, msg)
	require.Same(t, next, m.posted.head)
	require.True(t, m.withdraw(next))
}

func TestMessageThatDoesNotFitStays(t *testing.T) {
	m := matching{limit: 1 << 20}
	m.arrives(1, "too long", true)
	msg, truncated := m.post(waiterFor(1, 7))
	require.Nil(t, msg)
	require.True(t, truncated)
	msg, truncated = m.post(waiterFor(1, 8))
	require.NotNil(t, msg)
	require.False(t, truncated)
}

// TestUnexpectedBytesAreBounded: reading stops at the bound, and goes on once a message is copied
// out.
func TestUnexpectedBytesAreBounded(t *testing.T) {
	m := matching{limit: 2 * (messageOverhead + 3)}
	require.NotNil(t, m.arrives(1, "one", true))
	require.NotNil(t, m.arrives(1, "two", true))
	require.Nil(t, m.arrives(1, "", true), "an empty message counts too")
	require.True(t, m.stalled)
	msg, _ := m.post(waiterFor(1, 8))
	require.True(t, m.free(msg), "reading may go on")
	require.False(t, m.stalled)
	require.NotNil(t, m.arrives(1, "six", true))
	require.Len(t, m.spare.free, 0, "the memory of the first message is used again")
}
