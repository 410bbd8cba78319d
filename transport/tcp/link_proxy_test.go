package tcp

import (
	"context"
	"net"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/faultproxy"
	"github.com/switchyard-moe/switchyard/transport"
)

// proxied is a job of which every connection of the mesh goes through a proxy of its pair of ranks. Tx is what the
// higher rank of a pair sends, since it is the one that dials.
type proxied struct {
	ends []*Transport
	addr string // of the rendezvous itself

	mu    sync.Mutex
	links map[[2]transport.Rank]*faultproxy.Proxy // by the lower and the higher rank
	all   []*faultproxy.Proxy
}

// openProxied joins n ranks. Those above 0 come to the rendezvous through a proxy that rewrites, in the table of where
// everybody listens, each address to that of a proxy in front of it. The table has no checksum, and an address of the
// same length changes nothing else in it.
func openProxied(t *testing.T, n int, change func(c *Config)) *proxied {
	job := &proxied{addr: freeAddr(t), links: make(map[[2]transport.Rank]*faultproxy.Proxy)}
	t.Cleanup(job.close)
	job.ends = openAll(t, n, func(c *Config) {
		change(c)
		c.Addr = job.addr
		if c.Rank > 0 {
			c.Addr = job.rendezvousOf(t, c.Rank, n)
		}
	})
	require.Len(t, job.links, n*(n-1)/2, "the table of addresses has passed in pieces, or is not plain")
	return job
}

// close ends the proxies once the ranks have ended.
func (j *proxied) close() {
	closeAll(j.ends)
	for _, p := range j.all {
		p.Close()
	}
}

var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// rendezvousOf returns where rank finds the rendezvous.
func (j *proxied) rendezvousOf(t *testing.T, rank transport.Rank, n int) string {
	p := j.proxy(t, j.addr)
	p.Rx.Modify(func(b []byte) []byte {
		found := loopback.FindAllIndex(b, -1)
		if len(found) < n {
			return b // a welcome, which holds the address of rank 0 alone
		}
		for peer, at := range found[len(found)-n:] {
			if transport.Rank(peer) >= rank {
				break
			}
			real := b[at[0]:at[1]]
			link := j.proxy(t, string(real))
			if len(link.Addr()) != len(real) {
				t.Errorf("%s cannot stand in for %s", link.Addr(), real)
			}
			copy(real, link.Addr())
			j.mu.Lock()
			j.links[[2]transport.Rank{transport.Rank(peer), rank}] = link
			j.mu.Unlock()
		}
		return b
	})
	return p.Addr()
}

func (j *proxied) proxy(t *testing.T, target string) *faultproxy.Proxy {
	p, err := faultproxy.Listen(target, 1)
	if err != nil {
		t.Errorf("proxy: %v", err)
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
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
		require.Equal(t, 2, p.Accepted(), "lanes between ranks %v", pair)
	}
	require.NoError(t, job.ends[2].Send(t.Context(), 1, 1, make([]byte, 5000)))
	_, err := job.ends[1].Recv(t.Context(), 2, 1, make([]byte, 5000))
	require.NoError(t, err)
	require.Greater(t, job.links[[2]transport.Rank{1, 2}].Tx.Bytes(), int64(5000))
	_, err = net.Dial("tcp", job.addr)
	require.Error(t, err, "the rendezvous is over")
}
