package main

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRateOfAClient(t *testing.T) {
	c := newClients(flags(t, "-rate", "2", "-burst", "3"))
	now := time.Unix(1000, 0)
	a, b := clientOf("10.0.0.1:5"), clientOf("10.0.0.2:5")
	for range 3 {
		require.Nil(t, c.enter(a, now))
		c.leave(a)
	}
	why := c.enter(a, now)
	require.Equal(t, http.StatusTooManyRequests, why.code)
	require.Equal(t, time.Second/2, why.retry)
	require.Contains(t, why.reason, "more than 2 requests a second of 10.0.0.1")
	require.Nil(t, c.enter(b, now), "another one is not held up")
	require.NotNil(t, c.enter(a, now.Add(time.Second/4)))
	require.Nil(t, c.enter(a, now.Add(time.Second/2)))
	require.NotNil(t, c.enter(a, now.Add(time.Second/2)))
	c.leave(a)
	c.forget(now.Add(time.Minute))
	require.Len(t, c.known, 1, "a request of b is under way")
}

func TestRequestsAtATime(t *testing.T) {
	c := newClients(flags(t, "-queue", "3", "-client-queue", "2"))
	now := time.Now()
	a, b := clientOf("[::ffff:10.0.0.1]:5"), clientOf("[2001:db8::1]:6")
	require.Equal(t, clientOf("10.0.0.1:7"), a)
	require.Equal(t, clientOf("[2001:db8::ffff:2]:7"), b, "one network")
	require.Nil(t, c.enter(a, now))
	require.Nil(t, c.enter(a, now))
	require.Contains(t, c.enter(a, now).reason, "2 requests of 10.0.0.1 are under way")
	require.Nil(t, c.enter(b, now))
	require.Contains(t, c.enter(b, now).reason, "3 requests are under way")
	c.leave(a)
	require.Nil(t, c.enter(a, now))
	for _, addr := range []netip.Addr{a, a, b} {
		c.leave(addr)
	}
	require.Zero(t, c.underWay())
	require.Empty(t, c.known, "without a rate nothing is kept")
}

// TestManyClientsNeedBoundedMemory: full buckets are forgotten, and others are not.
func TestManyClientsNeedBoundedMemory(t *testing.T) {
	c := newClients(flags(t, "-rate", "1", "-burst", "2"))
	now := time.Unix(1000, 0)
	enter := func(i int) *refusal {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		why := c.enter(addr, now)
		if why == nil {
			c.leave(addr)
		}
		return why
	}
	for i := range maxClients {
		require.Nil(t, enter(i))
	}
	require.NotNil(t, enter(maxClients), "all of them have just come")
	require.Nil(t, enter(7), "one of them")
	now = now.Add(time.Second)
	require.Nil(t, enter(maxClients))
	require.Len(t, c.known, 2, "and that of which a request is missing in the bucket")
}
