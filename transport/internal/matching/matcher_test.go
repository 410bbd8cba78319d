package matching_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-moe/switchyard/internal/alloctest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/matching"
)

type message struct {
	tag  transport.Tag
	size int
}

type receive struct {
	tag  transport.Tag
	room int
}

// model is the slow reference: all messages and receives in the order in which they came.
type model struct {
	matching.Matcher[message, receive]
	messages    []*message
	receives    []*receive
	held, limit int
}

func firstOf[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

func without[T any](list []*T, v *T) []*T {
	return slices.DeleteFunc(slices.Clone(list), func(other *T) bool { return other == v })
}

// post and arrive do the call in both, and compare.
func (m *model) post(t require.TestingT, r *receive) {
	want := firstOf(m.messages, func(msg *message) bool { return msg.tag == r.tag })
	got, err := m.Post(r.tag, r.room, r)
	require.Same(t, want, got)
	switch {
	case want == nil:
		require.NoError(t, err)
		m.receives = append(m.receives, r)
	case want.size > r.room:
		require.ErrorIs(t, err, transport.ErrTruncated)
	default:
		require.NoError(t, err)
		m.messages = without(m.messages, want)
	}
}

func (m *model) arrive(t require.TestingT, msg *message) {
	want := firstOf(m.receives, func(r *receive) bool { return msg.tag == r.tag })
	got, err := m.Arrive(msg.tag, msg.size)
	require.Same(t, want, got)
	switch {
	case want == nil:
		require.NoError(t, err)
		m.Keep(msg.tag, msg.size, msg)
		m.messages = append(m.messages, msg)
	case msg.size > want.room:
		require.ErrorIs(t, err, transport.ErrTruncated)
	default:
		require.NoError(t, err)
		m.receives = without(m.receives, want)
	}
}

func (m *model) withdraw(t require.TestingT, r *receive) {
	require.Equal(t, slices.Contains(m.receives, r), m.Withdraw(r.tag, r))
	m.receives = without(m.receives, r)
	require.False(t, m.Withdraw(r.tag, r))
}

func (m *model) discard(t require.TestingT, msg *message) {
	require.Equal(t, slices.Contains(m.messages, msg), m.Discard(msg.tag, msg))
	m.messages = without(m.messages, msg)
	require.False(t, m.Discard(msg.tag, msg))
}

func (m *model) hold(t require.TestingT, n int) {
	fits := m.held+n <= m.limit
	require.Equal(t, fits, m.Hold(n))
	if fits {
		m.held += n
	}
	require.Equal(t, m.held, m.Held())
}

// sweep visits everything, and takes out what drop says while it is being visited.
func (m *model) sweep(t require.TestingT, drop func() bool) {
	var receives, left []*receive
	for r := range m.Receives() {
		receives = append(receives, r)
		if drop() {
			require.True(t, m.Withdraw(r.tag, r))
		} else {
			left = append(left, r)
		}
	}
	same(t, m.receives, receives)
	m.receives = slices.DeleteFunc(m.receives, func(r *receive) bool { return !slices.Contains(left, r) })
	var messages, kept []*message
	for msg := range m.Messages() {
		messages = append(messages, msg)
		if drop() {
			require.True(t, m.Discard(msg.tag, msg))
		} else {
			kept = append(kept, msg)
		}
	}
	same(t, m.messages, messages)
	m.messages = slices.DeleteFunc(m.messages, func(msg *message) bool { return !slices.Contains(kept, msg) })
}

func same[T any](t require.TestingT, want, got []*T) {
	require.True(t, slices.Equal(want, got), "want %v, got %v", want, got)
}

// check compares what can be seen.
func (m *model) check(t require.TestingT, tag transport.Tag) {
	require.Equal(t, len(m.receives), m.Posted())
	ofTag := func(r *receive) bool { return r.tag == tag }
	require.Same(t, firstOf(m.receives, ofTag), m.Expecting(tag))
	if len(m.receives) == 0 {
		require.Nil(t, m.Oldest())
		return
	}
	require.Same(t, m.receives[0], m.Oldest())
}

// checkMatcher compares random calls with the model.
func checkMatcher(t *rapid.T) {
	m := &model{limit: rapid.IntRange(0, 100).Draw(t, "limit")}
	m.SetLimit(m.limit)
	tags := rapid.IntRange(1, 40).Draw(t, "tags")
	sizes := rapid.IntRange(0, 3)
	gone, lost := &receive{}, &message{}
	for range rapid.IntRange(1, 300).Draw(t, "calls") {
		tag := transport.Tag(rapid.IntRange(0, tags-1).Draw(t, "tag"))
		switch rapid.IntRange(0, 6).Draw(t, "call") {
		case 0, 1:
			m.post(t, &receive{tag, sizes.Draw(t, "room")})
		case 2, 3:
			m.arrive(t, &message{tag, sizes.Draw(t, "size")})
		case 4:
			m.withdraw(t, rapid.SampledFrom(append(m.receives, gone)).Draw(t, "receive"))
			m.discard(t, rapid.SampledFrom(append(m.messages, lost)).Draw(t, "message"))
		case 5:
			m.hold(t, rapid.IntRange(0, 50).Draw(t, "bytes"))
			back := rapid.IntRange(0, m.held).Draw(t, "back")
			m.Release(back)
			m.held -= back
		case 6:
			if rapid.IntRange(0, 9).Draw(t, "sweep") == 0 {
				m.sweep(t, func() bool { return rapid.Bool().Draw(t, "drop") })
			}
		}
		m.check(t, tag)
	}
	m.sweep(t, func() bool { return true })
	m.sweep(t, func() bool { return true })
}

func TestMatcherAgainstItsModel(t *testing.T) { rapid.Check(t, checkMatcher) }

func FuzzMatcher(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkMatcher)) }

func TestVisitingEndsEarly(t *testing.T) {
	var m matching.Matcher[message, receive]
	for tag := range transport.Tag(3) {
		for range 2 {
			_, err := m.Post(tag, 0, &receive{tag: tag})
			require.NoError(t, err)
			m.Keep(tag+3, 0, &message{tag: tag + 3})
		}
	}
	visited := 0
	for range m.Receives() {
		visited++
		break
	}
	for range m.Messages() {
		visited++
		break
	}
	require.Equal(t, 2, visited)
}

// TestATruncatedPairStays: the error says what does not fit, and both sides can still be paired.
func TestATruncatedPairStays(t *testing.T) {
	var m matching.Matcher[message, receive]
	r, msg := &receive{7, 2}, &message{7, 2}
	_, err := m.Post(7, r.room, r)
	require.NoError(t, err)
	got, err := m.Arrive(7, 3)
	require.Same(t, r, got)
	require.EqualError(t, err, "message of 3 bytes, tag 0x7, room for 2: "+transport.ErrTruncated.Error())
	got, err = m.Arrive(7, 2)
	require.NoError(t, err)
	require.Same(t, r, got)

	m.Keep(7, msg.size, msg)
	kept, err := m.Post(7, 1, r)
	require.Same(t, msg, kept)
	require.EqualError(t, err, "message of 2 bytes, tag 0x7, room for 1: "+transport.ErrTruncated.Error())
	require.Zero(t, m.Posted())
	kept, err = m.Post(7, 2, r)
	require.NoError(t, err)
	require.Same(t, msg, kept)
}

// TestMatcherKeepsItsMemory: no call allocates once there have been as many at a time.
func TestMatcherKeepsItsMemory(t *testing.T) {
	for _, tags := range []int{1, 16, 80, 400} {
		var m matching.Matcher[message, receive]
		receives, messages := make([]receive, 2*tags), make([]message, 2*tags)
		require.Zero(t, alloctest.Least(3, func() {
			for i := range receives {
				_, _ = m.Post(transport.Tag(i%tags), 0, &receives[i])
				m.Keep(transport.Tag(tags+i%tags), 0, &messages[i])
			}
			for i := range tags {
				_, _ = m.Arrive(transport.Tag(i), 0)
				m.Withdraw(transport.Tag(i), &receives[tags+i])
				_, _ = m.Post(transport.Tag(tags+i), 0, &receives[i])
				m.Discard(transport.Tag(tags+i), &messages[tags+i])
			}
		}), "%d tags", tags)
	}
}
