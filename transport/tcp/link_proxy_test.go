package tcp

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/faultproxy"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// proxied is a job of which every connection of the mesh goes through a proxy of its pair of ranks.
// Tx is what the higher rank of a pair sends, since it is the one that dials.
type proxied struct {
	ends []*Transport
	addr string // of the rendezvous itself

	mu        sync.Mutex
	listeners map[string]transport.Rank               // who listens at an address
	links     map[[2]transport.Rank]*faultproxy.Proxy // by the lower and the higher rank
	all       []*faultproxy.Proxy
}

// openProxied joins n ranks. Each dials the listener of another through a proxy in front of it.
func openProxied(t *testing.T, n int, change func(c *Config)) *proxied {
	job := &proxied{addr: loopback.Addr(), listeners: make(map[string]transport.Rank), links: make(map[[2]transport.Rank]*faultproxy.Proxy)}
	t.Cleanup(job.close)
	job.ends = openAll(t, n, func(c *Config) {
		change(c)
		c.Addr = job.addr
		job.divert(t, c)
	})
	require.Len(t, job.links, n*(n-1)/2)
	return job
}

// close ends the proxies once the ranks have ended.
func (j *proxied) close() {
	closeAll(j.ends)
	for _, p := range j.all {
		p.Close()
	}
}

// divert has a rank dial through proxies.
func (j *proxied) divert(t *testing.T, c *Config) {
	system, rank := rendezvous.Net{}.WithDefaults(), c.Rank
	c.Net.Listen = func(ctx context.Context, addr string) (net.Listener, error) {
		l, err := system.Listen(ctx, addr)
		if err == nil {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.listeners[l.Addr().String()] = rank
		}
		return l, err
	}
	c.Net.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		return system.Dial(ctx, j.insteadOf(t, rank, addr))
	}
}

// insteadOf returns the address of the proxy by which rank reaches addr, or addr if that is the
// rendezvous.
func (j *proxied) insteadOf(t *testing.T, rank transport.Rank, addr string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	peer, ok := j.listeners[addr]
	if !ok || addr == j.addr {
		return addr
	}
	pair := [2]transport.Rank{peer, rank}
	if j.links[pair] == nil {
		j.links[pair] = j.proxy(t, addr)
	}
	return j.links[pair].Addr()
}

// proxy starts a proxy. The caller holds mu.
func (j *proxied) proxy(t *testing.T, target string) *faultproxy.Proxy {
	p, err := faultproxy.Listen(target, 1)
	if err != nil {
		t.Errorf("proxy: %v", err)
		return nil
	}
	j.all = append(j.all, p)
	return p
}

// of returns the proxies of all links of a rank.
func (j *proxied) of(rank transport.Rank) (links []*faultproxy.Proxy) {
	for pair, p := range j.links {
		if pair[0] == rank || pair[1] == rank {
			links = append(links, p)
		}
	}
	return links
}

// waitAll has each of ranks wait for a message that never comes, and returns their errors.
func (j *proxied) waitAll(ctx context.Context, ranks ...transport.Rank) map[transport.Rank]error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs = make(map[transport.Rank]error)
	)
	for _, r := range ranks {
		wg.Go(func() {
			from := transport.Rank((int(r) + 1) % len(j.ends))
			_, err := j.ends[r].Recv(ctx, from, 99, make([]byte, 1))
			mu.Lock()
			defer mu.Unlock()
			errs[r] = err
		})
	}
	wg.Wait()
	return errs
}

func TestEveryConnectionGoesThroughItsProxy(t *testing.T) {
	job := openProxied(t, 3, func(*Config) {})
	for pair, p := range job.links {
		require.Equal(t, 2, p.Accepted(), "streams between ranks %v", pair)
	}
	require.NoError(t, job.ends[2].Send(t.Context(), 1, 1, make([]byte, 5000)))
	_, err := job.ends[1].Recv(t.Context(), 2, 1, make([]byte, 5000))
	require.NoError(t, err)
	require.Greater(t, job.links[[2]transport.Rank{1, 2}].Tx.Bytes(), int64(5000))
	_, err = net.Dial("tcp", job.addr)
	require.Error(t, err, "the rendezvous is over")
}
