package lockstep

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

// newPass has ranks make a pass of stream 1.
func newPass(number uint64, logs ...*Log) {
	for _, l := range logs {
		l.Begin(1, "layer 1", "NewPass").End(true)
		l.MakePass(1, number, fmt.Sprintf("layer 1, pass %d", number))
	}
}

// TestOtherNameInTheSamePlaceOfAPass: the operations of a pass are compared by its number.
func TestOtherNameInTheSamePlaceOfAPass(t *testing.T) {
	a, b := New(0), New(2)
	newPass(1, a, b)
	newPass(2, a, b)
	a.BeginInPass(1, 1, "Forward").End(true)
	a.BeginInPass(1, 1, "Backward")
	b.BeginInPass(1, 2, "Forward")
	require.NoError(t, talk(a, b, time.Hour), "several goroutines may run them")
	b.BeginInPass(1, 1, "Forward").End(true)
	b.BeginInPass(1, 1, "Eval")
	require.ErrorContains(t, pass(a, b, 0), "rank 0 is in layer 1, pass 1: Backward #2, rank 2 has begun layer 1, pass 1: Eval #2")
}

// TestAPassThatHasEnded: others may still be in its last operation, but not in one more.
func TestAPassThatHasEnded(t *testing.T) {
	a, b := New(0), New(2)
	newPass(1, a, b)
	b.BeginInPass(1, 1, "Forward").End(true)
	b.EndPass(1, 1)
	b.Begin(1, "layer 1", "Step")
	forward := a.BeginInPass(1, 1, "Forward")
	require.NoError(t, talk(a, b, time.Hour))
	forward.End(true)
	backward := a.BeginInPass(1, 1, "Backward")
	require.ErrorContains(t, pass(a, b, 0), "rank 0 is in layer 1, pass 1: Backward #2, rank 2 has begun layer 1: the end of a pass #2")
	backward.End(true)
	for n := range uint64(remembered) {
		newPass(2+n, b)
		b.EndPass(1, 2+n)
	}
	a.BeginInPass(1, 1, "Backward")
	require.NoError(t, pass(a, b, time.Hour), "it is forgotten")
	require.Empty(t, b.passes)
	require.Len(t, b.streams[1].past, remembered)
}

// TestAPassThatFailsEndsTheStream, for ranks that wait in operations that this rank does not
// complete: in the pass, in others, in those that it has not made, or in the stream.
func TestAPassThatFailsEndsTheStream(t *testing.T) {
	l := New(0)
	newPass(1, l)
	newPass(2, l)
	newPass(3, l)
	l.BeginInPass(1, 1, "Forward").End(true)
	l.BeginInPass(1, 2, "Forward")
	l.BeginInPass(1, 3, "Forward").End(true)
	l.EndPass(1, 3)
	l.BeginInPass(1, 1, "Backward").End(false)
	l.Fail(1, errors.New("no room"))
	l.Fail(1, errors.New("later"))
	for _, c := range []struct {
		pass, number uint64
		ends         bool
	}{{1, 1, false}, {1, 2, true}, {1, 3, true}, {2, 1, true}, {3, 1, false}, {4, 1, true}, {0, 3, false}, {0, 4, true}} {
		said := statement{ops: []operation{{stream: 1, pass: c.pass, number: c.number, name: "x", doubtful: true}}}
		err := l.Compare(1, said.encode(), 0)
		require.Equal(t, c.ends, errors.Is(err, transport.ErrPeerFailed), "pass %d, %d: %v", c.pass, c.number, err)
		if c.ends {
			require.ErrorContains(t, err, "in layer 1, pass 1: Backward #2: no room")
		}
	}
	other := New(1)
	newPass(1, other)
	other.BeginInPass(1, 1, "Forward").End(false)
	other.EndPass(1, 1)
	newPass(1, l)
	l.BeginInPass(1, 1, "Eval").End(true)
	l.BeginInPass(1, 1, "Backward")
	require.NoError(t, pass(l, other, 0), "a pass that has failed may have counted differently")
}

// TestAPassNotMade is one that a rank waits for for ever, if the other waits for it in the stream.
func TestAPassNotMade(t *testing.T) {
	a, b := New(0), New(1)
	newPass(1, a)
	a.BeginInPass(1, 1, "Forward")
	b.Begin(2, "layer 2", "Eval")
	require.ErrorContains(t, talk(a, b, time.Hour), "in layer 1, pass 1: Forward #1")
}

// TestRightProgramsOfPassesAreNeverAccused runs steps of passes, each on a thread of its own whose
// pace is random, on all ranks, with statements at every moment as if all waited for each other.
func TestRightProgramsOfPassesAreNeverAccused(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const ranks = 3
	logs := [ranks]*Log{New(0), New(1), New(2)}
	next := uint64(1)
	for range 60 {
		var threads []func() // what each thread does next; a finished thread does nothing
		n := uint64(rng.IntN(4))
		for _, l := range logs {
			for p := next; p < next+n; p++ {
				newPass(p, l)
				threads = append(threads, thread(l, p))
			}
		}
		for range 60 * len(threads) {
			threads[rng.IntN(len(threads))]()
			if from, to := rng.IntN(ranks), rng.IntN(ranks); from != to {
				require.NoError(t, pass(logs[from], logs[to], time.Hour))
			}
		}
		next += n
		for _, l := range logs {
			require.Empty(t, l.passes)
			l.Begin(1, "layer 1", "Step").End(true)
		}
	}
}

// thread runs a pass: Forward, Backward, and its end, a piece with each call.
func thread(l *Log, number uint64) func() {
	var open Begun
	pieces := []func(){
		func() { open = l.BeginInPass(1, number, "Forward") }, func() { open.End(true) },
		func() { open = l.BeginInPass(1, number, "Backward") }, func() { open.End(true) },
		func() { l.EndPass(1, number) },
	}
	return func() {
		if len(pieces) > 0 {
			pieces[0]()
			pieces = pieces[1:]
		}
	}
}
