package lockstep

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// pass passes the statement of rank from of two to the other. Both have waited for each other for
// waited.
func pass(from, to *Log, waited time.Duration) error {
	return to.Compare(from.me, from.Statement(to.me, waited), waited)
}

// talk passes statements between two ranks twice, and returns the first error.
func talk(a, b *Log, waited time.Duration) error {
	return errors.Join(pass(a, b, waited), pass(b, a, waited), pass(a, b, waited), pass(b, a, waited))
}

func TestOtherNameInTheSamePlace(t *testing.T) {
	a, b := New(0), New(2)
	for _, l := range []*Log{a, b} {
		for range 16 {
			l.Begin(1, "layer 1", "Forward").End(true)
		}
	}
	a.Begin(1, "layer 1", "Forward")
	require.NoError(t, pass(a, b, 0), "nothing is known yet")
	eval := b.Begin(1, "layer 1", "Eval")
	want := "ranks are out of step: rank 0 is in layer 1: Forward #17, rank 2 has begun layer 1: Eval #17"
	require.EqualError(t, pass(a, b, 0), want)
	require.ErrorIs(t, pass(a, b, 0), transport.ErrOutOfStep)
	eval.End(true)
	b.Begin(1, "layer 1", "Eval").End(true)
	require.EqualError(t, pass(a, b, 0), want, "however far the other has gone on")
}

// TestSameOperationsAreInStep: ranks with the same operations are in step, however long they wait
// and however far one of them is ahead.
func TestSameOperationsAreInStep(t *testing.T) {
	a, b := New(0), New(1)
	for _, name := range []string{"Forward", "Backward", "Step", "Parameters"} {
		ahead := a.Begin(1, "layer 1", name)
		require.NoError(t, talk(a, b, time.Hour), "b computes, or writes a checkpoint")
		other := b.Begin(1, "layer 1", name)
		require.NoError(t, talk(a, b, time.Hour))
		ahead.End(true)
		other.End(true)
	}
	for i := range 3 * remembered {
		b.Begin(1, "layer 1", []string{"Forward", "Eval", "Backward"}[i%3]).End(true)
	}
	a.Begin(1, "layer 1", "Forward")
	require.NoError(t, pass(a, b, 0), "number 5 is no longer remembered")
}

func TestFailedOperationsAccuseNobody(t *testing.T) {
	a, b := New(0), New(1)
	a.Begin(1, "layer 1", "Forward").End(false) // on this rank alone
	a.Begin(1, "layer 1", "Forward")
	b.Begin(1, "layer 1", "Forward").End(true)
	b.Begin(1, "layer 1", "Backward")
	require.NoError(t, talk(a, b, time.Hour))
	a.Begin(1, "layer 1", "Forward")
	b.Begin(2, "layer 2", "Forward")
	require.NoError(t, talk(a, b, time.Hour), "nor by the rule between streams")

	e, f := New(0), New(1)
	e.Begin(1, "layer 1", "Forward").End(false)
	f.Begin(1, "layer 1", "Step")
	require.ErrorIs(t, pass(f, e, 0), transport.ErrOutOfStep, "the number of what failed is certain")

	c, d := New(0), New(1)
	for _, l := range []*Log{c, d} {
		l.Begin(1, "layer 1", "Forward").End(true) // refused by all
	}
	c.Begin(1, "layer 1", "Forward")
	d.Begin(1, "layer 1", "Step")
	require.ErrorIs(t, talk(c, d, 0), transport.ErrOutOfStep)
}

func TestOperationsOfDifferentStreams(t *testing.T) {
	a, b := New(0), New(2)
	a.Begin(0, "", "NewLayer")
	b.Begin(1, "layer 1", "Step")
	require.NoError(t, talk(a, b, confirm-1), "not yet")
	require.NoError(t, pass(a, b, confirm), "it has not heard what b is in")
	require.EqualError(t, pass(b, a, confirm), "ranks are out of step: rank 2 waits for rank 0 in layer 1: Step #1, "+
		"rank 0 waits for rank 2 in NewLayer #1, and neither has begun the other's")
}

// TestOneSideIsAhead: a waits in an operation that b has not begun, and b in one that a has. a will
// go on.
func TestOneSideIsAhead(t *testing.T) {
	a, b := New(0), New(1)
	a.Begin(1, "layer 1", "Step").End(true)
	a.Begin(0, "", "NewLayer")
	b.Begin(1, "layer 1", "Step")
	require.NoError(t, talk(a, b, time.Hour))
}

// TestConcurrentRanksAreNotAccused: another goroutine of either rank may be about to begin what the
// other waits for.
func TestConcurrentRanksAreNotAccused(t *testing.T) {
	prepare := map[string]func(l *Log) (done func()){
		"twins": func(l *Log) func() { l.Concurrent(); return func() {} },
		"two at once": func(l *Log) func() {
			x, y := l.Begin(7, "", "x"), l.Begin(8, "", "y")
			x.End(true)
			y.End(true)
			return func() {}
		},
		"two open": func(l *Log) func() { l.Begin(9, "", "background"); return func() {} },
		"a second caller": func(l *Log) func() {
			called, end := make(chan struct{}), make(chan struct{})
			go func() {
				l.Begin(7, "", "x").End(true)
				close(called)
				<-end
			}()
			<-called
			return func() { close(end) }
		},
	}
	for name, prepare := range prepare {
		for _, which := range []int{0, 1} {
			t.Run(name, func(t *testing.T) {
				logs := []*Log{New(0), New(1)}
				defer prepare(logs[which])()
				logs[0].Begin(1, "layer 1", "Forward")
				logs[1].Begin(2, "layer 2", "Forward")
				require.NoError(t, talk(logs[0], logs[1], time.Hour))
			})
		}
	}
}

// TestCallersThatHaveEndedDoNotMatter: a program may begin each of its phases on a goroutine of its
// own.
func TestCallersThatHaveEndedDoNotMatter(t *testing.T) {
	a, b := New(0), New(1)
	for _, l := range []*Log{a, b} {
		for range 3 * maxCallers {
			done := make(chan struct{})
			go func() {
				defer close(done)
				l.Begin(0, "", "NewLayer").End(true)
			}()
			<-done
		}
	}
	a.Begin(0, "", "NewLayer")
	b.Begin(1, "layer 1", "Step")
	for range 1000 { // a goroutine that has said that it is done may still exist for a moment
		if err := talk(a, b, confirm); err != nil {
			require.ErrorIs(t, err, transport.ErrOutOfStep)
			return
		}
		runtime.Gosched()
	}
	require.Fail(t, "no error")
}

// TestRightProgramsAreNeverAccused runs random programs of random speed, with statements at every
// moment. An operation ends when all ranks have begun it, or sooner.
func TestRightProgramsAreNeverAccused(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		const ranks, length = 3, 30
		names, program := []string{"Forward", "Backward", "Step", "Eval"}, []operation{}
		for range length {
			program = append(program, operation{stream: StreamID(rng.IntN(3)), name: names[rng.IntN(len(names))]})
		}
		logs, at, open := [ranks]*Log{New(0), New(1), New(2)}, [ranks]int{}, [ranks]*Begun{}
		for steps := 0; min(at[0], at[1], at[2]) < length && steps < 100000; steps++ {
			r := rng.IntN(ranks)
			switch last := at[r] - 1; {
			case open[r] != nil && (min(at[0], at[1], at[2]) > last || rng.IntN(20) == 0):
				open[r].End(true)
				open[r] = nil
			case open[r] == nil && at[r] < length:
				b := logs[r].Begin(program[at[r]].stream, "stream", program[at[r]].name)
				open[r] = &b
				at[r]++
			}
			from, to := rng.IntN(ranks), rng.IntN(ranks)
			// a rank waits for those that have not begun what it is in
			waits := func(r, for_ int) time.Duration {
				if open[r] != nil && at[for_] < at[r] {
					return time.Hour
				}
				return 0
			}
			if from != to {
				said := logs[from].Statement(transport.Rank(to), waits(from, to))
				require.NoError(t, logs[to].Compare(transport.Rank(from), said, waits(to, from)))
			}
		}
	}
}

func TestOverdue(t *testing.T) {
	l, now := New(0), time.Now()
	l.now = func() time.Time { return now }
	other := New(2)
	l.Begin(1, "layer 1", "Forward")
	culprit, doing := l.Overdue(2)
	require.Equal(t, transport.Rank(2), culprit)
	require.Equal(t, "rank 0 is in layer 1: Forward #1; rank 2 has not said that it waits for anything", doing)
	other.Begin(1, "layer 1", "Forward")
	require.NoError(t, pass(other, l, time.Minute))
	now = now.Add(4 * time.Second)
	culprit, doing = l.Overdue(2)
	require.Equal(t, transport.None, culprit, "it waits itself")
	require.Equal(t, "rank 0 is in layer 1: Forward #1; rank 2 said 4s ago that it was in layer 1: Forward #1", doing)
	now = now.Add(time.Hour)
	culprit, _ = l.Overdue(2)
	require.Equal(t, transport.Rank(2), culprit, "it has said nothing for long")
}

func TestManyOperationsAreStatedWithinTheLimit(t *testing.T) {
	l := New(0)
	for id := range StreamID(100) {
		l.Begin(id, strings.Repeat("x", 200), "y")
	}
	said := l.Statement(1, time.Hour)
	require.LessOrEqual(t, len(said), transport.MaxStatement)
	s, err := decode(said)
	require.NoError(t, err)
	require.NotEmpty(t, s.ops)
}

func TestLongNamesAreCutAlike(t *testing.T) {
	a, b := New(0), New(1)
	for _, l := range []*Log{a, b} {
		l.Begin(1, strings.Repeat("x", 300), "y")
	}
	require.NoError(t, talk(a, b, time.Hour))
}

// FuzzCompare reads any statement.
func FuzzCompare(f *testing.F) {
	l := New(1)
	l.Begin(1, "layer 1", "Forward\n\x1b[2J")
	f.Add(l.Statement(0, time.Hour))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, said []byte) {
		if s, err := decode(said); err == nil && len(said) > 0 {
			require.Equal(t, said, s.encode())
		}
		mine := New(0)
		mine.Begin(1, "layer 1", "Step")
		err := mine.Compare(1, said, time.Hour)
		if err != nil {
			require.True(t, errors.Is(err, transport.ErrOutOfStep) || errors.Is(err, transport.ErrProtocol))
			require.Equal(t, printable.Text(err.Error(), 1<<10), err.Error())
		}
		_, doing := mine.Overdue(1)
		require.Equal(t, printable.Text(doing, 1<<20), doing)
	})
}
