package striped

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

func TestConfig(t *testing.T) {
	require.NoError(t, Config{}.Validate())
	c := Config{
		Limits: transport.Limits{MaxUnexpectedBytes: -1, JoinTimeout: -1, CloseTimeout: -1, Heartbeat: -1},
		Parity: -1, MinStripe: -1, StripeBytes: -1, LinkBytes: 1,
	}
	err := c.Validate()
	for _, name := range []string{"Parity", "MinStripe", "StripeBytes", "MaxUnexpectedBytes", "JoinTimeout",
		"CloseTimeout", "Heartbeat"} {
		require.ErrorContains(t, err, name)
	}
	require.ErrorContains(t, Config{LinkBytes: 1000}.Validate(), "LinkBytes 1000")
	require.ErrorContains(t, Config{Limits: transport.Limits{DeadAfter: time.Hour}}.Validate(), "DeadAfter 1h0m0s is set, but striped has no such limit")
	_, err = New(context.Background(), nil, Config{})
	require.ErrorContains(t, err, "0 links")
	links := openLinks(t, 2, 2, nil)
	_, err = New(context.Background(), links[0], Config{Parity: 2})
	require.ErrorContains(t, err, "Parity 2 leaves none of 2 links")
	require.ErrorIs(t, links[0][0].Send(context.Background(), 1, 1), transport.ErrClosed, "New has closed the links")
	other := openLinks(t, 2, 1, nil)
	_, err = New(context.Background(), append(other[1], other[0]...), Config{})
	require.ErrorContains(t, err, "link 1 is rank 0 of 2, link 0 is rank 1 of 2")
}

// TestMismatch: ranks that disagree get an error with both values.
func TestMismatch(t *testing.T) {
	for name, c := range map[string]Config{
		"Parity": {Parity: 1}, "MinStripe": {MinStripe: 1}, "StripeBytes": {StripeBytes: 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := join(openLinks(t, 3, 2, nil), func(r transport.Rank) Config {
				if r == 1 {
					return c
				}
				return Config{}
			})
			require.ErrorIs(t, err, transport.ErrMismatch)
			require.ErrorContains(t, err, name+" is ")
		})
	}
	t.Run("order", func(t *testing.T) {
		links := openLinks(t, 2, 2, nil)
		links[1][0], links[1][1] = links[1][1], links[1][0]
		_, err := join(links, func(transport.Rank) Config { return Config{} })
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "the link's number is ")
	})
	t.Run("absent", func(t *testing.T) {
		links := openLinks(t, 2, 2, nil)
		_, err := New(context.Background(), links[0], Config{Limits: transport.Limits{JoinTimeout: 20 * time.Millisecond}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestCapabilities(t *testing.T) {
	ends := open(t, 1, 3, Config{Parity: 1}, nil)
	require.Equal(t, transport.Capabilities{Name: "striped(inproc)", SurvivesPeerLoss: true}, ends[0].Capabilities())
}

// TestCost compares the bytes on the links with the package comment.
func TestCost(t *testing.T) {
	const k, m = 4, 2
	for _, n := range []int{0, 1, 100, k*4096 - 1, k * 4096, 1 << 20, 5 << 20} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			links := openLinks(t, 2, k+m, nil)
			ends, err := join(links, func(transport.Rank) Config { return Config{Parity: m} })
			require.NoError(t, err)
			t.Cleanup(func() { closeEnds(ends) })
			wire := func() (total int) {
				for _, l := range links[0] {
					total += int(l.(transport.Counter).WireBytes())
				}
				return total
			}
			before := wire()
			require.NoError(t, pass(context.Background(), ends, n))
			stripes, want := m+1, (m+1)*n
			if n >= k*4096 {
				blocks := (n + k<<18 - 1) / (k << 18)
				stripes, want = blocks*(k+m), n/k*(k+m)
			}
			want += stripes * headerBytes
			require.Eventually(t, func() bool { return wire()-before == want }, 10*time.Second, time.Millisecond)
			require.EqualValues(t, n, ends[0].WireBytes())
		})
	}
}

// TestUnexpected: unexpected messages are bounded, and hold nothing up once they are received.
func TestUnexpected(t *testing.T) {
	cfg := small(1)
	cfg.MaxUnexpectedBytes, cfg.LinkBytes = 4000, 2000
	ends := open(t, 2, 3, cfg, nil)
	ctx := context.Background()
	done := make(chan error, 1)
	go func() {
		for i := range 40 {
			if err := ends[0].Send(ctx, 1, transport.Tag(i), body(uint64(i), 1000)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	b := ends[1].inboxes[0]
	held := func() int { b.mu.Lock(); defer b.mu.Unlock(); return b.Held() }
	require.Eventually(t, func() bool { return held() > 3000 }, 10*time.Second, time.Millisecond)
	for i := range 40 {
		require.LessOrEqual(t, held(), 4000)
		room := make([]byte, 1000)
		n, err := ends[1].Recv(ctx, 0, transport.Tag(i), room)
		require.NoError(t, err)
		require.Equal(t, body(uint64(i), 1000), room[:n])
	}
	require.NoError(t, <-done)
	require.Zero(t, held())
}
