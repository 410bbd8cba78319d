package tcp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/secure/securetest"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

// certJob is what the tests' certificates call the job.
const certJob = "tests"

var testSecret = secure.Secret("a secret of more than 16 bytes")

// withTLS and withSecret change a configuration so that ranks know each other.
func withTLS(t testing.TB) func(c *Config) {
	authority, err := securetest.NewAuthority()
	require.NoError(t, err)
	return func(c *Config) {
		security, err := authority.Config(certJob, c.Rank)
		if err != nil {
			panic(err)
		}
		security.TLS.Job = certJob
		c.Security = security
	}
}

func withSecret(c *Config) { c.Security.Secret = testSecret }

func TestConformanceOverTLS(t *testing.T) {
	with := withTLS(t)
	transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
		ends := make([]transport.Transport, n)
		for r, e := range openAll(t, n, with) {
			ends[r] = e
		}
		return ends
	})
}

func TestOnlyTLSEncrypts(t *testing.T) {
	for want, with := range map[bool]func(*Config){true: withTLS(t), false: withSecret} {
		ends := openAll(t, 3, with)
		require.Equal(t, want, ends[0].Capabilities().Encrypted)
		requireHears(t, ends[0], ends[2])
		closeAll(ends)
	}
}

// joinEach joins a job of len(configs) ranks, whose configurations need not agree.
func joinEach(t *testing.T, configs []Config) []error {
	errs := make([]error, len(configs))
	addr := loopback.Addr()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for r, c := range configs {
		c.Rank, c.Size, c.Addr, c.Job = transport.Rank(r), len(configs), addr, "job"
		wg.Go(func() {
			var tr *Transport
			if tr, errs[r] = Join(ctx, c); errs[r] == nil {
				t.Cleanup(func() { _ = tr.Close() })
			} else if r > 0 {
				cancel()
			}
		})
	}
	wg.Wait()
	return errs
}

func TestDifferentSecretsDoNotJoin(t *testing.T) {
	start := time.Now()
	errs := joinEach(t, []Config{
		{Security: secure.Config{Secret: testSecret}},
		{Security: secure.Config{Secret: secure.Secret("another one, long enough too")}},
	})
	require.ErrorIs(t, errs[1], secure.ErrUnauthenticated)
	require.ErrorContains(t, errs[1], "the peer holds another secret")
	require.Equal(t, transport.Rank(0), transport.CulpritOf(errs[1]))
	require.Error(t, errs[0])
	require.Less(t, time.Since(start), 20*time.Second, "not at the end of JoinTimeout, 60 s")
}

func TestSecurityPermitsAddressesBeyondLoopback(t *testing.T) {
	c := Config{Identity: rendezvous.Identity{Size: 2, Addr: "0.0.0.0:1"}, Security: secure.Config{Secret: secure.Secret("short")}}
	require.ErrorContains(t, c.Validate(), "Secret has 5 bytes, at least 16 are needed")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Join(ctx, Config{Identity: rendezvous.Identity{Size: 2, Addr: loopback.Addr()}, Host: "0.0.0.0", Security: secure.Config{Secret: testSecret}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestOnlyTheNamedAddressListensAndOnlyBeforeTheMeshStands(t *testing.T) {
	if len(listeners(t)) > 0 {
		t.Skip("other tests of this process listen")
	}
	configs := make([]Config, 2)
	addr := loopback.Addr()
	for r := range configs {
		configs[r] = Config{Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: 2, Addr: addr}}
		withSecret(&configs[r])
	}
	var wg sync.WaitGroup
	var ends [2]*Transport
	var errs [2]error
	wg.Go(func() { ends[0], errs[0] = Join(t.Context(), configs[0]) })
	require.Eventually(t, func() bool { return len(listeners(t)) == 2 }, 10*time.Second, time.Millisecond)
	var visits sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 2*slack)
	defer cancel()
	for _, l := range listeners(t) { // the rendezvous and the mesh
		port, ours := strings.CutPrefix(l, "0100007F:")
		require.True(t, ours, l)
		n, err := strconv.ParseUint(port, 16, 16)
		require.NoError(t, err)
		visits.Go(func() {
			held, err := securetest.Clients()[1].Connect(ctx, fmt.Sprintf("127.0.0.1:%d", n))
			if err != nil || held > secure.HandshakeTimeout+slack {
				t.Errorf("at port %d, while a rank is awaited, another program is held for %v: %v", n, held, err)
			}
		})
	}
	visits.Wait()
	ends[1], errs[1] = Join(t.Context(), configs[1])
	wg.Wait()
	require.NoError(t, errors.Join(errs[:]...))
	require.Empty(t, listeners(t))
	closeAll(ends[:])
}

// BenchmarkAllToAll compares the securities: four ranks send as much to each other.
func BenchmarkAllToAll(b *testing.B) {
	ways := map[string]func(*Config){"plain": nil, "secret": withSecret, "tls": withTLS(b)}
	for _, size := range []struct {
		name  string
		bytes int
	}{{"64B", 64}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}} {
		for _, way := range []string{"plain", "secret", "tls"} {
			b.Run("size="+size.name+"/"+way, func(b *testing.B) {
				ends := openAll(b, 4, ways[way])
				b.SetBytes(int64(3 * size.bytes))
				b.ResetTimer()
				var wg sync.WaitGroup
				for r, e := range ends {
					wg.Go(func() { exchangeAll(b, r, e, size.bytes) })
				}
				wg.Wait()
				b.StopTimer()
				closeAll(ends)
			})
		}
	}
}

func exchangeAll(b *testing.B, r int, e *Transport, size int) {
	var sends, recvs []transport.Message
	for d := 1; d < 4; d++ {
		sends = append(sends, transport.Message{Peer: transport.Rank((r + d) % 4), Bufs: [][]byte{make([]byte, size)}})
		recvs = append(recvs, transport.Message{Peer: transport.Rank((r + 4 - d) % 4), Bufs: [][]byte{make([]byte, size)}})
	}
	for range b.N {
		if err := e.Exchange(context.Background(), sends, recvs); err != nil {
			b.Error(err)
			return
		}
	}
}
