package meshjoin

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/secure/securetest"
)

// slack is what a loaded machine may take on top of a limit.
const slack = 30 * time.Second

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

// TestOtherProgramsOfAllKindsAreDropped has them come while rank 1 is awaited.
func TestOtherProgramsOfAllKindsAreDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two seconds")
	}
	for name, with := range map[string]func(*Config){"plain": func(*Config) {}, "secret": withSecret, "tls": withTLS(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zero, one := Config{Identity: rendezvous.Identity{Rank: 0}}, Config{Identity: rendezvous.Identity{Rank: 1}}
			with(&zero)
			with(&one)
			l := listenAnywhere(t)
			var wg, visits sync.WaitGroup
			var ends [2]*mesh.Mesh
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

// writes calls itself with all that is written to it.
type writes func(b []byte)

func (w writes) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestMeshRefusesTheCertificateOfAnotherRank(t *testing.T) {
	with := withTLS(t)
	zero, two := Config{Identity: rendezvous.Identity{Rank: 0}}, Config{Identity: rendezvous.Identity{Rank: 2}}
	with(&zero)
	with(&two)
	ctx, cancel := context.WithTimeout(t.Context(), 2*slack)
	defer cancel()
	refusing := false
	zero.Log = slog.New(slog.NewTextHandler(writes(func(b []byte) {
		if strings.Contains(string(b), "rank 1 is claimed under a certificate for") {
			refusing = true
			cancel() // nothing more will come
		}
	}), nil))
	l := listenAnywhere(t)
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { _, err = halfMesh(t, ctx, zero, 0, l, nil) })
	_, refused := halfMesh(t, ctx, two, 1, listenAnywhere(t), []string{l.Addr().String()})
	wg.Wait()
	require.Error(t, refused)
	require.ErrorContains(t, err, "no connection with rank 1")
	require.True(t, refusing, "rank 0 has said why")
}
