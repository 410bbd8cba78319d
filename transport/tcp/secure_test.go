package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
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
	addr := freeAddr(t)
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
	c := Config{Size: 2, Addr: "0.0.0.0:1", Security: secure.Config{Secret: secure.Secret("short")}}
	require.ErrorContains(t, c.Validate(), "Secret has 5 bytes, at least 16 are needed")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Join(ctx, Config{Size: 2, Addr: freeAddr(t), Host: "0.0.0.0", Security: secure.Config{Secret: testSecret}})
	require.ErrorIs(t, err, context.Canceled)
}

// TestStrangersOfAllKindsAreDroppedAtTheMesh has them come while rank 1 is awaited.
func TestStrangersOfAllKindsAreDroppedAtTheMesh(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	for name, with := range map[string]func(*Config){"plain": func(*Config) {}, "secret": withSecret, "tls": withTLS(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zero, one := Config{Rank: 0}, Config{Rank: 1}
			with(&zero)
			with(&one)
			l := listenAnywhere(t)
			var wg, visits sync.WaitGroup
			var ends [2]*Transport
			var errs [2]error
			wg.Go(func() { ends[0], errs[0] = halfMesh(t, t.Context(), zero, 0, l, nil) })
			ctx, cancel := context.WithTimeout(t.Context(), 2*slack)
			defer cancel()
			for _, s := range securetest.Clients() {
				visits.Go(func() {
					held, err := s.Connect(ctx, l.Addr().String())
					if err != nil || held > secure.HandshakeTimeout+slack {
						t.Errorf("%s held for %v: %v", s.Name, held, err)
					}
				})
			}
			visits.Wait()
			ends[1], errs[1] = halfMesh(t, t.Context(), one, 1, listenAnywhere(t), []string{l.Addr().String()})
			wg.Wait()
			require.NoError(t, errs[0])
			require.NoError(t, errs[1])
			requireHears(t, ends[1], ends[0])
		})
	}
}

func TestMeshRefusesTheCertificateOfAnotherRank(t *testing.T) {
	with := withTLS(t)
	zero, two := Config{Rank: 0}, Config{Rank: 2}
	with(&zero)
	with(&two)
	var log strings.Builder
	zero.Log = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	l := listenAnywhere(t)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { _, err = halfMesh(t, ctx, zero, 0, l, nil) })
	_, refused := halfMesh(t, ctx, two, 1, listenAnywhere(t), []string{l.Addr().String()})
	wg.Wait()
	require.Error(t, refused)
	require.ErrorContains(t, err, "no connection with rank 1")
	require.Contains(t, log.String(), "rank 1 is claimed under a certificate for")
}

func TestOnlyTheNamedAddressListensAndOnlyBeforeTheMeshStands(t *testing.T) {
	if len(listeners(t)) > 0 {
		t.Skip("other tests of this process listen")
	}
	configs := make([]Config, 2)
	addr := freeAddr(t)
	for r := range configs {
		configs[r] = Config{Rank: transport.Rank(r), Size: 2, Addr: addr}
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
				t.Errorf("at port %d, while a rank is awaited, a stranger is held for %v: %v", n, held, err)
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

func TestTransportKeepsNoSecret(t *testing.T) {
	for _, e := range openAll(t, 2, withSecret) {
		require.Equal(t, secure.Config{}, e.cfg.Security)
	}
}
