package mesh

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

func newMatcher(limit int) *matcher {
	m := new(matcher)
	m.pairs.SetLimit(limit)
	return m
}

// waiterFor is a receive of tag with room bytes of room, which nobody waits for.
func waiterFor(tag transport.Tag, room int) *waiter {
	return &waiter{tag: tag, room: room, bufs: [][]byte{make([]byte, room)}}
}

// arrives has a message come for which no receive is posted.
func (m *matcher) arrives(tag transport.Tag, body string, complete bool) *message {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.admit(messageOverhead + len(body)) {
		return nil
	}
	msg := m.spare.get(tag, len(body))
	copy(msg.grow(len(body)), body)
	msg.complete = complete
	m.pairs.Keep(tag, msg.total, msg)
	return msg
}

func TestMatchingKeepsTheOrderOfEachTag(t *testing.T) {
	m := newMatcher(1 << 20)
	for _, body := range []string{"one", "two", "three"} {
		m.arrives(1, body, true)
	}
	m.arrives(2, "other", true)
	for _, want := range []string{"one", "two", "three"} {
		w := waiterFor(1, 8)
		msg, err := m.post(w)
		require.NoError(t, err)
		msg.copyTo(w)
		require.Equal(t, want, string(w.bufs[0][:w.n]))
		require.False(t, m.free(msg))
	}
	msg, _ := m.post(waiterFor(2, 8))
	require.NotNil(t, msg)
	m.free(msg)
	require.Zero(t, m.pairs.Held())
}

func TestMatchingTakesPostedReceivesInOrder(t *testing.T) {
	m := newMatcher(0)
	first, other, second := waiterFor(1, 8), waiterFor(2, 8), waiterFor(1, 8)
	for _, w := range []*waiter{first, other, second} {
		msg, err := m.post(w)
		require.Nil(t, msg)
		require.NoError(t, err)
	}
	for _, want := range []*waiter{other, first, second, nil} {
		tag := transport.Tag(1)
		if want == other {
			tag = 2
		}
		w, err := m.claim(tag, 3)
		require.NoError(t, err)
		require.Same(t, want, w)
		if w != nil {
			require.True(t, w.started)
			require.Equal(t, 3, w.n)
		}
	}
}

func TestWithdrawOnlyBeforeTheMessageBegins(t *testing.T) {
	m := newMatcher(0)
	a, b, c := waiterFor(1, 8), waiterFor(1, 8), waiterFor(1, 8)
	for _, w := range []*waiter{a, b, c} {
		m.post(w)
	}
	require.True(t, m.withdraw(c), "the last")
	require.False(t, m.withdraw(c), "once")
	w, err := m.claim(1, 8)
	require.NoError(t, err)
	require.Same(t, a, w)
	require.False(t, m.withdraw(a), "its message has begun")
	require.True(t, m.withdraw(b))
	require.Zero(t, m.pairs.Posted())
}

// TestWithdrawAgainstAMessageThatIsStillComing: the receive that has asked for it cannot be taken
// back, and a second one of the tag waits behind it.
func TestWithdrawAgainstAMessageThatIsStillComing(t *testing.T) {
	m := newMatcher(1 << 20)
	half := m.arrives(1, "half", false)
	w, next := waiterFor(1, 8), waiterFor(1, 8)
	msg, err := m.post(w)
	require.Nil(t, msg)
	require.NoError(t, err)
	require.Same(t, w, half.taker)
	require.Equal(t, 4, w.n)
	require.False(t, m.withdraw(w))
	msg, _ = m.post(next)
	require.Nil(t, msg)
	require.Same(t, next, m.pairs.Oldest())
	require.True(t, m.withdraw(next))
}

func TestMessageThatDoesNotFitStays(t *testing.T) {
	m := newMatcher(1 << 20)
	m.arrives(1, "too long", true)
	msg, err := m.post(waiterFor(1, 7))
	require.Nil(t, msg)
	require.ErrorIs(t, err, transport.ErrTruncated)
	msg, err = m.post(waiterFor(1, 8))
	require.NotNil(t, msg)
	require.NoError(t, err)
}

// TestReceiveThatIsTooShortGetsNothingElse: the message that it was too short for breaks the mesh;
// what comes until that is known must not go to it.
func TestReceiveThatIsTooShortGetsNothingElse(t *testing.T) {
	m := newMatcher(0)
	w := waiterFor(1, 7)
	_, err := m.post(w)
	require.NoError(t, err)
	got, err := m.claim(1, 8)
	require.ErrorIs(t, err, transport.ErrTruncated)
	require.Same(t, w, got)
	got, err = m.claim(1, 1)
	require.NoError(t, err)
	require.Nil(t, got)
	require.False(t, m.withdraw(w), "its message has begun")
}

// TestUnexpectedBytesAreBounded: reading stops at the bound, and goes on once a message is copied
// out.
func TestUnexpectedBytesAreBounded(t *testing.T) {
	m := newMatcher(2 * (messageOverhead + 3))
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
