package faulty_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// open is a job of n ranks with the same faults.
func open(n int, c faulty.Config) []transport.Transport {
	ranks := make([]transport.Transport, n)
	for r, t := range inproc.New(n) {
		ranks[r] = faulty.New(t, c)
	}
	return ranks
}

// sends is true of sends under tag.
func sends(tag transport.Tag) func(faulty.Op) bool {
	return func(o faulty.Op) bool { return o.Dir == faulty.Send && o.Tag == tag }
}

func receives(tag transport.Tag) func(faulty.Op) bool {
	return func(o faulty.Op) bool { return o.Dir == faulty.Recv && o.Tag == tag }
}

func TestConformance(t *testing.T) {
	never := func(faulty.Op) bool { return false }
	sometimes := func(f faulty.Fault) faulty.Rule { return faulty.Rule{Fault: f, Chance: 0.2} }
	for name, rules := range map[string][]faulty.Rule{
		"None":        nil,
		"RulesAtRest": {{Fault: faulty.Drop(), When: never}, {Fault: faulty.Fail(nil), When: never}},
		"LateAndOutOfOrder": {
			sometimes(faulty.Reorder(time.Millisecond)), sometimes(faulty.Delay(0, time.Millisecond)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transporttest.Run(t, func(_ *testing.T, n int) []transport.Transport {
				return open(n, faulty.Config{Seed: 1, Rules: rules})
			})
		})
	}
}

// inBubble runs test in virtual time on two ranks, the first of which has the rules.
func inBubble(t *testing.T, test func(t *testing.T, a, b *faulty.Transport), rules ...faulty.Rule) {
	synctest.Test(t, func(t *testing.T) {
		below := inproc.New(2)
		a := faulty.New(below[0], faulty.Config{Rules: rules})
		b := faulty.New(below[1], faulty.Config{})
		test(t, a, b)
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}

func send(t *testing.T, from transport.Transport, to transport.Rank, tag transport.Tag, body string) {
	t.Helper()
	require.NoError(t, from.Send(t.Context(), to, tag, []byte(body)))
}

func recv(t *testing.T, at transport.Transport, from transport.Rank, tag transport.Tag) string {
	t.Helper()
	room := make([]byte, 100)
	n, err := at.Recv(t.Context(), from, tag, room)
	require.NoError(t, err)
	return string(room[:n])
}

// recvIn is recv for a goroutine that is not the test's: it returns the text of an error in place
// of the message.
func recvIn(in transport.Transport, from transport.Rank, tag transport.Tag) string {
	buf := make([]byte, 100)
	n, err := in.Recv(context.Background(), from, tag, buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

func TestDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, a, b *faulty.Transport) {
		start := time.Now()
		send(t, a, 1, 1, "late")
		send(t, a, 1, 1, "behind it")
		send(t, a, 1, 2, "early")
		require.Zero(t, time.Since(start), "sends do not wait")
		require.Equal(t, "early", recv(t, b, 0, 2))
		require.Zero(t, time.Since(start))
		require.Equal(t, "late", recv(t, b, 0, 1))
		require.Equal(t, 5*time.Second, time.Since(start))
		require.Equal(t, "behind it", recv(t, b, 0, 1))
		require.Equal(t, 5*time.Second, time.Since(start))
		require.Equal(t, 1, a.Count(faulty.KindDelay))
		require.Zero(t, b.Count(faulty.KindDelay))
	}, faulty.Rule{Fault: faulty.Delay(5*time.Second, 5*time.Second), When: sends(1), Times: 1})
}

func TestDelayOfAReceiveKeepsTheOrderOfCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, a, b *faulty.Transport) {
		start, first := time.Now(), make(chan string)
		go func() { first <- recvIn(a, 1, 1) }()
		synctest.Wait()
		second := make(chan string)
		go func() { second <- recvIn(a, 1, 1) }()
		synctest.Wait()
		send(t, b, 0, 1, "one")
		send(t, b, 0, 1, "two")
		require.Equal(t, "one", <-first)
		require.Equal(t, "two", <-second)
		require.Equal(t, time.Second, time.Since(start))
	}, faulty.Rule{Fault: faulty.Delay(time.Second, time.Second), When: receives(1), Times: 1})
}

func TestReorder(t *testing.T) {
	inBubble(t, func(t *testing.T, a, b *faulty.Transport) {
		start := time.Now()
		send(t, a, 1, 1, "first")
		send(t, a, 1, 1, "after the first")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Recv(ctx, 0, 1, make([]byte, 100))
		require.ErrorIs(t, err, context.DeadlineExceeded, "it is kept back")
		send(t, a, 1, 2, "overtakes")
		require.Equal(t, "overtakes", recv(t, b, 0, 2))
		require.Equal(t, "first", recv(t, b, 0, 1))
		require.Equal(t, "after the first", recv(t, b, 0, 1))
		require.Equal(t, time.Second, time.Since(start))
	}, faulty.Rule{Fault: faulty.Reorder(time.Minute), When: sends(1)})
}

func TestReorderHoldsNobodyForever(t *testing.T) {
	inBubble(t, func(t *testing.T, a, b *faulty.Transport) {
		start := time.Now()
		send(t, a, 1, 1, "alone")
		require.Equal(t, "alone", recv(t, b, 0, 1))
		require.Equal(t, time.Second, time.Since(start))
	}, faulty.Rule{Fault: faulty.Reorder(time.Second)})
}

func TestDrop(t *testing.T) {
	inBubble(t, func(t *testing.T, a, b *faulty.Transport) {
		send(t, a, 1, 1, "lost")
		start := time.Now()
		_, err := b.Recv(t.Context(), 0, 1, make([]byte, 100))
		require.ErrorIs(t, err, transport.ErrTimeout, "the transport below has a deadline of its own")
		require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
		require.Equal(t, inproc.DefaultOpTimeout, time.Since(start))
	}, faulty.Rule{Fault: faulty.Drop(), When: sends(1)})
}

func TestDropOfAReceive(t *testing.T) {
	inBubble(t, func(t *testing.T, a, b *faulty.Transport) {
		send(t, b, 0, 1, "one")
		send(t, b, 0, 1, "two")
		send(t, b, 0, 1, "three")
		require.Equal(t, "two", recv(t, a, 1, 1))
		require.Equal(t, "three", recv(t, a, 1, 1))
	}, faulty.Rule{Fault: faulty.Drop(), When: func(o faulty.Op) bool { return o.Seq == 1 }})
}

func TestCorrupt(t *testing.T) {
	const body = "twelve bytes"
	for _, dir := range []faulty.Direction{faulty.Send, faulty.Recv} {
		inBubble(t, func(t *testing.T, a, b *faulty.Transport) {
			from, at, source := a, b, transport.Rank(0)
			if dir == faulty.Recv {
				from, at, source = b, a, 1
			}
			mine := []byte(body)
			send(t, from, 1-source, 1, "")
			require.Empty(t, recv(t, at, source, 1))
			require.NoError(t, from.Send(t.Context(), 1-source, 1, mine[:5], mine[5:]))
			require.Equal(t, body, string(mine), "the sender's buffers stay as they are")
			got, changed := recv(t, at, source, 1), 0
			require.Len(t, got, len(body))
			for i := range body {
				if got[i] != body[i] {
					changed++
				}
			}
			require.Equal(t, 3, changed)
			send(t, from, 1-source, 1, body)
			require.Equal(t, body, recv(t, at, source, 1), "once only")
		}, faulty.Rule{Fault: faulty.Corrupt(3), Times: 1,
			When: func(o faulty.Op) bool { return o.Dir == dir && (dir == faulty.Recv || o.Size > 0) && o.Seq > 1 }})
	}
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		below := inproc.New(2)
		a := faulty.New(below[0], faulty.Config{Rules: []faulty.Rule{{Fault: faulty.Stall(until)}}})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, a.Send(ctx, 1, 1, []byte("x")), context.DeadlineExceeded)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sends, recvs := []transport.Message{{Peer: 1}}, []transport.Message{{Peer: 1}}
		require.ErrorIs(t, transport.Exchange(ctx, a, sends, recvs), context.DeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))
		time.AfterFunc(time.Minute, func() { close(until) })
		send(t, a, 1, 1, "goes on")
		require.Equal(t, time.Minute+2*time.Second, time.Since(start))
		require.Equal(t, "goes on", recv(t, below[1], 0, 1))
		require.Equal(t, 4, a.Count(faulty.KindStall))
		require.NoError(t, a.Close())
		require.NoError(t, below[1].Close())
	})
}

func TestCloseEndsAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(2, faulty.Config{Rules: []faulty.Rule{{Fault: faulty.Stall(make(chan struct{}))}}})[0]
		errs := make(chan error)
		go func() { errs <- a.Send(t.Context(), 1, 1) }()
		synctest.Wait()
		require.NoError(t, a.Close())
		require.ErrorIs(t, <-errs, transport.ErrClosed)
	})
}
