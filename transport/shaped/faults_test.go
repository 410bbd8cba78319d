package shaped_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

func TestACancelledSendIsTakenBack(t *testing.T) {
	inBubble(t, 2, shaped.Config{Bandwidth: rate}, func(t *testing.T, ranks []transport.Transport) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*ms)
		defer cancel()
		start := time.Now()
		err := ranks[0].Send(ctx, 1, 1, make([]byte, mega))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		require.Equal(t, 5*ms, time.Since(start))
		sendAll(t, ranks[0], 1, 100)
		n, err := ranks[1].Recv(t.Context(), 0, 1, make([]byte, mega))
		require.NoError(t, err)
		require.Equal(t, 100, n, "the cancelled message has not been sent")
	})
}

// TestACancelledRecvLosesNothing: a message under way belongs to the next receive.
func TestACancelledRecvLosesNothing(t *testing.T) {
	inBubble(t, 2, shaped.Config{Latency: 10 * ms}, func(t *testing.T, ranks []transport.Transport) {
		start := time.Now()
		sendAll(t, ranks[0], 1, 100)
		ctx, cancel := context.WithTimeout(t.Context(), 5*ms)
		defer cancel()
		_, err := ranks[1].Recv(ctx, 0, 1, make([]byte, 100))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		recvAt(t, ranks[1], 0, 100, start, 10*ms)
	})
}

func TestSendWaitsForAReceiverThatIsBehind(t *testing.T) {
	c := shaped.Config{Bandwidth: rate, UnclaimedBytes: 2 * mega}
	inBubble(t, 2, c, func(t *testing.T, ranks []transport.Transport) {
		sent := make(chan int, 4)
		go func() {
			for i := range 4 {
				noError(t, ranks[0].Send(t.Context(), 1, 1, make([]byte, mega)))
				sent <- i
			}
		}()
		time.Sleep(time.Second) // sleep-ok: on the bubble's clock
		require.Len(t, sent, 2)
		for range 4 {
			_, err := ranks[1].Recv(t.Context(), 0, 1, make([]byte, mega))
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Len(t, sent, 4)
	})
}

func TestCloseDeliversWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ranks := open(2, shaped.Config{Bandwidth: rate, Latency: time.Second})
		start := time.Now()
		require.NoError(t, ranks[0].Send(t.Context(), 1, 1, make([]byte, mega)))
		go func() { noError(t, ranks[0].Close()) }()
		recvAt(t, ranks[1], 0, mega, start, time.Second+10*ms)
		_, err := ranks[1].Recv(t.Context(), 0, 1, nil)
		require.ErrorIs(t, err, transport.ErrPeerClosed)
		require.NoError(t, ranks[1].Close())
	})
}

func TestCloseDoesNotWaitForeverForAReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ranks := open(2, shaped.Config{Bandwidth: rate, CloseTimeout: 3 * time.Second})
		start := time.Now()
		require.NoError(t, ranks[0].Send(t.Context(), 1, 1, make([]byte, mega)))
		require.NoError(t, ranks[0].Close())
		require.Equal(t, 3*time.Second+10*ms, time.Since(start))
		require.NoError(t, ranks[1].Close())
	})
}

// TestDeathEndsSendsThatWaitForTheLink: a receive finds it.
func TestDeathEndsSendsThatWaitForTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := inproc.New(3)
		r := shaped.New(below[0], shaped.Config{Bandwidth: 1})
		start, heard := time.Now(), make(chan error, 2)
		go func() { heard <- r.Send(t.Context(), 1, 1, make([]byte, mega)) }()
		go func() { _, err := r.Recv(t.Context(), 1, 1); heard <- err }()
		synctest.Wait()
		below[2].Abort(nil)
		for range 2 {
			err := <-heard
			require.ErrorIs(t, err, transport.ErrPeerDead)
			require.Equal(t, transport.Rank(2), transport.CulpritOf(err))
		}
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, r.Send(t.Context(), 1, 1, nil), transport.ErrPeerDead)
		require.NoError(t, r.Close())
	})
}

func TestLaterSendsOfABrokenTransportFail(t *testing.T) {
	inBubble(t, 2, shaped.Config{Latency: time.Second}, func(t *testing.T, ranks []transport.Transport) {
		require.NoError(t, ranks[1].Close())
		require.NoError(t, ranks[0].Send(t.Context(), 1, 1, nil), "not known yet")
		time.Sleep(time.Second) // sleep-ok: on the bubble's clock
		synctest.Wait()
		require.ErrorIs(t, ranks[0].Send(t.Context(), 1, 1, nil), transport.ErrPeerClosed)
	})
}

func TestCapabilities(t *testing.T) {
	r := open(2, shaped.Config{})[0]
	require.Equal(t, transport.Capabilities{Name: "shaped(inproc)", SurvivesPeerLoss: true}, transport.CapabilitiesOf(r))
}

func TestConfigValidate(t *testing.T) {
	require.NoError(t, shaped.Config{}.Validate())
	err := shaped.Config{Bandwidth: -1, Burst: 5, Latency: -1, UnclaimedBytes: -1}.Validate()
	for _, part := range []string{"Bandwidth", "Latency", "UnclaimedBytes"} {
		require.ErrorContains(t, err, part)
	}
	require.ErrorContains(t, shaped.Config{Burst: 5}.Validate(), "without a Bandwidth")
	require.Panics(t, func() { shaped.New(inproc.New(1)[0], shaped.Config{Jitter: -1}) })
}
