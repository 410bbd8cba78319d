package rendezvous

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/secure/securetest"
)

const testSecret = "a secret of more than 16 bytes"

// securities are all ways for ranks of "job" to authenticate each other.
func securities(t testing.TB) map[string]func(r transport.Rank) secure.Config {
	a, err := securetest.NewAuthority()
	require.NoError(t, err)
	return map[string]func(r transport.Rank) secure.Config{
		"no security": func(transport.Rank) secure.Config { return secure.Config{} },
		"TLS": func(r transport.Rank) secure.Config {
			c, err := a.Config("job", r)
			require.NoError(t, err)
			return c
		},
		"a shared secret": func(transport.Rank) secure.Config { return secure.Config{Secret: secure.Secret(testSecret)} },
	}
}

// secureJob is job with one security.
func secureJob(t testing.TB, n int, security func(r transport.Rank) secure.Config) []Config {
	configs := job(t, n)
	for r := range configs {
		configs[r].Security = security(transport.Rank(r))
	}
	return configs
}

func TestSecureMeetGivesAllAddressesToAllRanks(t *testing.T) {
	for name, security := range securities(t) {
		out := meetAll(t.Context(), secureJob(t, 5, security))
		for r, o := range out {
			require.NoError(t, o.err, "%s, rank %d", name, r)
			require.Equal(t, out[0].table, o.table)
		}
	}
}

func TestSecureMeetStillNamesWhatDiffers(t *testing.T) {
	for _, security := range securities(t) {
		configs := secureJob(t, 3, security)
		configs[2].Settings = map[string]string{"experts": "16", "dtype": "bf16"}
		requireAllFail(t, meetAll(t.Context(), configs), transport.ErrMismatch, `experts: rank 0 has "8", rank 2 has "16"`)
	}
}

// beside runs rank 0, calls connect, starts the right rank 1 and requires that the two meet.
func beside(t *testing.T, configs []Config, connect func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := Meet(t.Context(), configs[0])
		require.NoError(t, err)
	})
	connect()
	_, err := Meet(t.Context(), configs[1])
	require.NoError(t, err)
	wg.Wait()
}

// requireRefused requires that a rank is refused at once, and knows why.
func requireRefused(t *testing.T, c Config, parts ...string) {
	start := time.Now()
	_, err := Meet(t.Context(), c)
	require.Error(t, err)
	for _, part := range parts {
		require.ErrorContains(t, err, part)
	}
	require.Less(t, time.Since(start), prompt)
}

func TestRankWithoutProofIsRefusedAndTheRightOneJoins(t *testing.T) {
	all := securities(t)
	other := securities(t) // of another authority
	for name, c := range map[string]struct {
		security func(transport.Rank) secure.Config
		wrong    func(*Config)
		says     string
	}{
		"another authority": {all["TLS"], func(c *Config) { c.Security = other["TLS"](1) }, "certificate"},
		"another rank":      {all["TLS"], func(c *Config) { c.Security = all["TLS"](2) }, "rank 1 is claimed under a certificate for"},
		"another secret": {all["a shared secret"], func(c *Config) { c.Security.Secret = secure.Secret("another one that is long enough") },
			"the peer holds another secret"},
	} {
		t.Run(name, func(t *testing.T) {
			configs := secureJob(t, 2, c.security)
			beside(t, configs, func() {
				wrong := configs[1]
				c.wrong(&wrong)
				requireRefused(t, wrong, c.says)
			})
		})
	}
}

// TestRanksOfDifferentSecurityRefuseEachOther pairs every security with every other.
func TestRanksOfDifferentSecurityRefuseEachOther(t *testing.T) {
	all := securities(t)
	for here, zero := range all {
		for there, one := range all {
			if here == there {
				continue
			}
			t.Run(there+" connects to "+here, func(t *testing.T) {
				configs := secureJob(t, 2, zero)
				wrong := configs[1]
				wrong.Security = one(1)
				says := []string{"the peer is set to " + here, "not authenticated", "ranks disagree"}
				if here != "no security" {
					// Any program can connect without proof, so it does not end the job.
					beside(t, configs, func() { requireRefused(t, wrong, says...) })
					return
				}
				out := meetAll(t.Context(), []Config{configs[0], wrong})
				require.ErrorIs(t, out[0].err, transport.ErrMismatch)
				require.ErrorContains(t, out[0].err, "the peer comes with "+there)
				require.Less(t, out[0].took, prompt)
				require.ErrorIs(t, out[1].err, secure.ErrUnauthenticated)
				require.ErrorContains(t, out[1].err, says[0])
				require.Less(t, out[1].took, prompt)
			})
		}
	}
}

func TestMissingRanksAreNamedWithWhoWasRefused(t *testing.T) {
	t.Parallel() // it only waits
	configs := secureJob(t, 2, securities(t)["a shared secret"])
	configs[0].Timeout = enough
	configs[1].Security = secure.Config{}
	out := meetAll(t.Context(), configs)
	require.ErrorIs(t, out[0].err, transport.ErrTimeout)
	require.ErrorContains(t, out[0].err, "1 of 2 ranks missing after 3s: 1; last refused: 127.0.0.1:")
	require.ErrorContains(t, out[0].err, "the peer comes with no security, this rank is set to a shared secret")
}

// TestUnknownClientsAreDroppedWithinTwoSeconds connects every kind of client with every
// security, while a rank is awaited.
func TestUnknownClientsAreDroppedWithinTwoSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the two seconds")
	}
	for name, security := range securities(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			configs := secureJob(t, 2, security)
			beside(t, configs, func() {
				dialUntil(t, configs[0].Addr).Close()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				var wg sync.WaitGroup
				for _, s := range securetest.Clients() {
					wg.Go(func() {
						held, err := s.Connect(ctx, configs[0].Addr)
						// a second for a loaded machine
						if err != nil || held > secure.HandshakeTimeout+time.Second {
							t.Errorf("%s held for %v: %v", s.Name, held, err)
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

func TestManySilentClientsDoNotKeepRanksOut(t *testing.T) {
	for name, security := range securities(t) {
		t.Run(name, func(t *testing.T) {
			configs := secureJob(t, 2, security)
			beside(t, configs, func() {
				for range 4 * secure.MaxPending {
					c := dialUntil(t, configs[0].Addr)
					t.Cleanup(func() { _ = c.Close() }) // it is silent while the ranks meet
				}
			})
		})
	}
}
