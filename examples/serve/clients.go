package main

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// maxClients bounds the memory for clients that have a rate.
const maxClients = 1 << 16

// clients counts what each client, an IP address, does.
type clients struct {
	most, each int // requests at a time, of all and of each
	rate       float64
	burst      float64

	mu    sync.Mutex
	open  int
	known map[netip.Addr]*client
}

// client has a bucket of tokens: each request takes one, and rate come back every second.
type client struct {
	open   int
	bucket float64
	filled time.Time
}

func newClients(o options) *clients {
	return &clients{most: o.queue, each: o.clientQueue, rate: o.rate, burst: float64(o.burst), known: map[netip.Addr]*client{}}
}

// enter begins a request of a client, which leave ends, or returns why not.
func (c *clients) enter(addr netip.Addr, now time.Time) *refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open >= c.most {
		return tooMany("%d requests are under way already", c.open).after(time.Second)
	}
	one := c.known[addr]
	if one == nil {
		if len(c.known) >= maxClients {
			c.forget(now)
		}
		if len(c.known) >= maxClients {
			return tooMany("%d clients at a time", maxClients).after(time.Second)
		}
		one = &client{bucket: c.burst, filled: now}
		c.known[addr] = one
	}
	if one.open >= c.each {
		return tooMany("%d requests of %v are under way already", one.open, addr).after(time.Second)
	}
	if wait := c.spend(one, now); wait > 0 {
		return tooMany("more than %v requests a second of %v", c.rate, addr).after(wait)
	}
	one.open++
	c.open++
	return nil
}

func tooMany(format string, args ...any) *refusal {
	return refuse(http.StatusTooManyRequests, format, args...)
}

// spend takes a request out of a client's bucket, or returns when there will be one.
func (c *clients) spend(one *client, now time.Time) time.Duration {
	if c.rate == 0 {
		return 0
	}
	c.fill(one, now)
	if one.bucket < 1 {
		return time.Duration((1 - one.bucket) / c.rate * float64(time.Second))
	}
	one.bucket--
	return 0
}

func (c *clients) fill(one *client, now time.Time) {
	one.bucket = min(c.burst, one.bucket+c.rate*now.Sub(one.filled).Seconds())
	one.filled = now
}

// leave ends a request.
func (c *clients) leave(addr netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.known[addr]
	one.open--
	c.open--
	if one.open == 0 && c.rate == 0 {
		delete(c.known, addr)
	}
}

// underWay is the number of requests that have entered and not left.
func (c *clients) underWay() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// forget drops the clients of which there is nothing to remember.
func (c *clients) forget(now time.Time) {
	for addr, one := range c.known {
		c.fill(one, now)
		if one.open == 0 && one.bucket >= c.burst {
			delete(c.known, addr)
		}
	}
}

// clientOf is the address by which a connection counts. Of IPv6 that is the network of 64 bits: a
// host may have all of its addresses.
func clientOf(hostport string) netip.Addr {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	network, _ := addr.Prefix(64) // cannot fail for 64 of 128 bits
	return network.Addr()
}
