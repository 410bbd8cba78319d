package admission

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
)

func TestOptionsReportEveryFault(t *testing.T) {
	_, err := parseOptions([]string{"-ranks", "1", "-rate", "0", "-security", "x", "-size", "y", "-turns", "0"}, io.Discard)
	for _, part := range []string{"-ranks 1", "-rate 0", `-security "x"`, "-size", "-turns 0"} {
		require.ErrorContains(t, err, part)
	}
	_, err = parseOptions([]string{"-h"}, io.Discard)
	require.ErrorIs(t, err, flag.ErrHelp)
	o, err := parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, o.turn(), "10 000 clients at 1000 a second in five turns")
	o, err = parseOptions([]string{"-short"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 500, o.count)
}

func TestListenersAreReadFromTheKernelsTable(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0
   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0
   2: 0100007F:1F92 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 111 1 0
`
	require.Equal(t, []string{"127.0.0.1:8080"}, parseListeners(table, map[string]bool{"111": true}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	if open, known := listening(); known {
		require.Contains(t, open, l.Addr().String())
	}
}

func TestOutcomeComparesTurns(t *testing.T) {
	o := outcome{options: options{ranks: 2, turns: 3}, Dropped: 1}
	turn := func(n int, rss int64) turnReport { return turnReport{Exchanges: n, Seconds: 2, PeakRSS: rss} }
	o.add(0, &rankReport{MeetBase: 10, MeetPeak: 15,
		Turns: []turnReport{turn(100, 50), turn(90, 58), turn(200, 40), turn(98, 70), turn(20, 60), turn(2, 44)}})
	o.add(1, &rankReport{Join: 3, MeetBase: 1, MeetPeak: 100})
	require.Equal(t, 50.0, o.Without)
	require.Equal(t, 45.0, o.With)
	require.Equal(t, 0.9, o.Ratio)
	require.Equal(t, int64(5), o.MeetRSS, "the last rank is not there when the clients connect")
	require.Equal(t, int64(10), o.RunRSS)
	require.Equal(t, 3.0, o.Join)
	require.NoError(t, o.fault())
	o.MaxHeld = 9
	require.ErrorContains(t, o.fault(), "9.00s, limit 3s")
}

func TestClientsCountWhoIsDroppedAndWhoFindsNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := loopback.Addr() // no connection of the test gets its port
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = c.Close()
			}
		}
	}()
	defer l.Close()
	b := scratchDir{t.TempDir()}
	require.NoError(t, b.put(listenName(0), l.Addr().String()+"\n"+nobody))
	require.NoError(t, b.await(t.Context(), listenName(0)))
	c := newClients(b, 10_000)
	c.send(t.Context(), 40)
	dropped, refused, held := c.end()
	require.Equal(t, 20, dropped)
	require.Equal(t, 20, refused)
	require.Less(t, held, 5.0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.await(ctx, "never"), context.Canceled)
}
