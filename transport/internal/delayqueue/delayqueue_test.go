package delayqueue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport/internal/delayqueue"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// office records what is delivered, and when. It takes nothing while it is shut.
type office struct {
	mu   sync.Mutex
	got  []string
	shut chan struct{} // nil while open
	err  error
}

func (o *office) deliver(ctx context.Context, to int, tag uint64, body []byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	o.mu.Lock()
	shut := o.shut
	o.mu.Unlock()
	if shut != nil {
		select {
		case <-shut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	o.got = append(o.got, fmt.Sprintf("%d/%d %s", to, tag, body))
	return nil
}

func (o *office) taken() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.got...)
}

func post(t *testing.T, q *delayqueue.Queue, k delayqueue.Key, body string, in time.Duration) *delayqueue.Message {
	t.Helper()
	m, err := q.Post(k, [][]byte{[]byte(body[:1]), []byte(body[1:])}, time.Now().Add(in))
	require.NoError(t, err)
	return m
}

var here, there = delayqueue.Key{To: 1, Tag: 5}, delayqueue.Key{To: 1, Tag: 6}

func TestOrderAndTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := new(office)
		q := delayqueue.New(o.deliver, 0)
		post(t, q, here, "late", 3*time.Second)
		post(t, q, here, "behind", time.Second)
		post(t, q, there, "early", 2*time.Second)
		require.True(t, q.Busy(here))
		time.Sleep(2 * time.Second) // sleep-ok: the bubble's clock
		synctest.Wait()
		require.Equal(t, []string{"1/6 early"}, o.taken())
		require.False(t, q.Busy(there))
		time.Sleep(time.Second) // sleep-ok: the bubble's clock
		synctest.Wait()
		require.Equal(t, []string{"1/6 early", "1/5 late", "1/5 behind"}, o.taken())
		q.Close(0)
	})
}

func TestReleaseAndFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, start := new(office), time.Now()
		q := delayqueue.New(o.deliver, 0)
		post(t, q, here, "first", time.Hour).Release()
		post(t, q, here, "second", time.Hour)
		post(t, q, there, "third", time.Hour)
		synctest.Wait()
		require.Equal(t, []string{"1/5 first"}, o.taken())
		q.Flush()
		q.Close(time.Minute)
		require.Len(t, o.taken(), 3)
		require.Zero(t, time.Since(start))
	})
}

func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{shut: make(chan struct{})}
		q := delayqueue.New(o.deliver, 0)
		waits := post(t, q, here, "waits", time.Second)
		behind := post(t, q, here, "behind", 0)
		going := post(t, q, there, "going", 0)
		synctest.Wait()
		require.True(t, q.Withdraw(waits))
		require.True(t, q.Withdraw(waits))
		require.True(t, q.Withdraw(going), "it was being handed on, and has been called off")
		close(o.shut)
		synctest.Wait()
		require.False(t, q.Withdraw(behind), "too late")
		require.Equal(t, []string{"1/5 behind"}, o.taken())
		q.Close(0)
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, start := &office{shut: make(chan struct{})}, time.Now()
		q := delayqueue.New(o.deliver, 5)
		m := post(t, q, here, "12345", time.Minute)
		require.NoError(t, q.Wait(t.Context(), m, start.Add(time.Second)))
		require.Equal(t, time.Second, time.Since(start), "it has left, and is not due")
		ctx, cancel := context.WithDeadline(t.Context(), start.Add(2*time.Minute))
		defer cancel()
		m = post(t, q, there, "6", 0)
		require.NoError(t, q.Wait(ctx, m, start), "the limit is not reached")
		time.Sleep(time.Minute) // sleep-ok: the bubble's clock
		m = post(t, q, there, "7", 0)
		require.ErrorIs(t, q.Wait(ctx, m, start), context.DeadlineExceeded)
		close(o.shut)
		m = post(t, q, there, "8", 0)
		require.NoError(t, q.Wait(t.Context(), m, start))
		q.Close(time.Minute)
		require.ElementsMatch(t, []string{"1/5 12345", "1/6 6", "1/6 8"}, o.taken())
	})
}

func TestFailureReachesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{err: errors.New("no such street")}
		q := delayqueue.New(o.deliver, 0)
		late := post(t, q, there, "late", time.Hour)
		heard := make(chan error)
		go func() { heard <- q.Wait(t.Context(), late, time.Now().Add(time.Hour)) }()
		synctest.Wait()
		start := time.Now()
		post(t, q, here, "bad", 0)
		require.Equal(t, o.err, <-heard)
		require.Zero(t, time.Since(start))
		_, err := q.Post(here, nil, time.Now())
		require.Equal(t, o.err, err)
		require.Equal(t, o.err, q.Check(1, 5))
		q.Close(time.Hour)
		require.Zero(t, time.Since(start))
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, start := &office{shut: make(chan struct{})}, time.Now()
		q := delayqueue.New(o.deliver, 0)
		require.NoError(t, q.Check(1, 5))
		m := post(t, q, here, "waits", time.Second)
		heard := make(chan error)
		go func() { heard <- q.Wait(t.Context(), m, start.Add(time.Second)) }()
		post(t, q, there, "never taken", time.Second)
		synctest.Wait()
		go q.Close(time.Minute)
		require.Equal(t, delayqueue.ErrClosed, <-heard)
		q.Close(time.Minute)
		require.Equal(t, time.Minute+time.Second, time.Since(start))
		require.Equal(t, delayqueue.ErrClosed, q.Check(1, 5))
		_, err := q.Post(here, nil, start)
		require.Equal(t, delayqueue.ErrClosed, err)
		require.Empty(t, o.taken())
	})
}

// TestCloseLeavesWhatHasLeft: a message that is on its way to a receiver with room has been sent,
// whether the queue closes before its sender wakes or while it sleeps.
func TestCloseLeavesWhatHasLeft(t *testing.T) {
	for name, free := range map[string]time.Duration{"Before": 0, "While": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &office{shut: make(chan struct{})}
				q := delayqueue.New(o.deliver, 100)
				m := post(t, q, here, "left", free)
				waited, closed := make(chan error, 1), make(chan struct{})
				go func() {
					<-time.After(free)
					q.Close(time.Minute)
					close(closed)
				}()
				if free == 0 {
					synctest.Wait() // it is closing, and the message waits at the office's door
				}
				at := time.Now().Add(free)
				go func() { waited <- q.Wait(t.Context(), m, at) }()
				require.NoError(t, <-waited)
				close(o.shut)
				<-closed
				require.Equal(t, []string{"1/5 left"}, o.taken())
			})
		})
	}
}

// TestOrderUnderRandomTimes posts from several goroutines, each under its own key, and takes some
// messages back.
func TestOrderUnderRandomTimes(t *testing.T) {
	const keys, messages = 8, 200
	o := new(office)
	q := delayqueue.New(o.deliver, 100)
	want := make([][]string, keys)
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(k)))
			key := delayqueue.Key{To: k % 3, Tag: uint64(k)}
			for i := range messages {
				body := fmt.Sprintf("%04d", i)
				m, err := q.Post(key, [][]byte{[]byte(body)}, time.Now().Add(time.Duration(r.IntN(30))*time.Microsecond))
				if err != nil {
					t.Error(err)
					return
				}
				if r.IntN(4) > 0 || !q.Withdraw(m) {
					want[k] = append(want[k], fmt.Sprintf("%d/%d %s", key.To, key.Tag, body))
				}
			}
		})
	}
	wg.Wait()
	q.Close(time.Minute)
	got := make([][]string, keys)
	for _, s := range o.taken() {
		var to, k, i int
		_, err := fmt.Sscanf(s, "%d/%d %d", &to, &k, &i)
		require.NoError(t, err)
		got[k] = append(got[k], s)
	}
	require.Equal(t, want, got)
}
