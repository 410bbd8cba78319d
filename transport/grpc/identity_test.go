package grpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/switchyard-moe/switchyard/transport"
)

func statusError(text string) error { return status.Error(codes.Unavailable, text) }

// TestAuthorizeIsAskedByBothEnds about each stream and the rank that its other end claims to be.
func TestAuthorizeIsAskedByBothEnds(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	endsOf(t, runPrograms(t, 3, nil, func(c *Config) {
		me := c.Rank
		c.Authorize = func(_ credentials.AuthInfo, rank transport.Rank) error {
			mu.Lock()
			defer mu.Unlock()
			asked[fmt.Sprintf("%d of %d", me, rank)]++
			return nil
		}
	}))
	require.Equal(t, map[string]int{"0 of 1": 2, "0 of 2": 2, "1 of 0": 2, "1 of 2": 2, "2 of 0": 2, "2 of 1": 2}, asked)
}

func TestAuthorizeRefuses(t *testing.T) {
	why := errors.New("not with this certificate")
	for _, refuser := range []transport.Rank{0, 1} {
		t.Run(fmt.Sprintf("at rank %d", refuser), func(t *testing.T) {
			t.Parallel()
			programs := runPrograms(t, 2, nil, func(c *Config) {
				if c.Rank == refuser {
					c.Authorize = func(credentials.AuthInfo, transport.Rank) error { return why }
				}
			})
			// Rank 1 dials, and hears or decides at once. Where it is who refuses, rank 0 may have
			// joined before it leaves.
			require.ErrorIs(t, programs[1].err, errIdentity)
			require.ErrorContains(t, programs[1].err, why.Error())
			require.Equal(t, transport.Rank(0), transport.CulpritOf(programs[1].err))
			if refuser == 0 {
				require.ErrorContains(t, programs[0].err, why.Error())
			}
		})
	}
}

// TestAuthorizeByCertificate: certificates tell the ranks apart, and one rank's certificate does
// not speak for another.
func TestAuthorizeByCertificate(t *testing.T) {
	issue := newIssuer(t)
	authorize := func(info credentials.AuthInfo, rank transport.Rank) error {
		if got := info.(credentials.TLSInfo).State.PeerCertificates[0].Subject.CommonName; got != nameOf(rank) {
			return fmt.Errorf("certificate of %q", got)
		}
		return nil
	}
	run := func(t *testing.T, names ...string) []*program {
		certs := make([]credentials.TransportCredentials, len(names))
		for i, name := range names {
			certs[i] = issue(name)
		}
		return runSecured(t, certs, authorize)
	}
	t.Run("right", func(t *testing.T) {
		ends := endsOf(t, run(t, "rank 0", "rank 1"))
		require.True(t, transport.CapabilitiesOf(ends[0]).Encrypted)
		require.NoError(t, echo(t, ends, 100_000))
	})
	t.Run("server of another name", func(t *testing.T) {
		t.Parallel()
		require.ErrorIs(t, run(t, "rank 7", "rank 1")[1].err, errIdentity)
	})
	t.Run("client of another name", func(t *testing.T) {
		t.Parallel()
		require.ErrorContains(t, run(t, "rank 0", "rank 7")[1].err, `certificate of "rank 7"`)
	})
}

func nameOf(r transport.Rank) string { return fmt.Sprintf("rank %d", r) }

// runSecured is runPrograms with credentials for each rank, at both ends of its connections.
func runSecured(t *testing.T, creds []credentials.TransportCredentials, authorize func(credentials.AuthInfo, transport.Rank) error) []*program {
	next := 0
	return runProgramsOf(t, len(creds), func(r int) []grpc.ServerOption { return []grpc.ServerOption{grpc.Creds(creds[r])} }, func(c *Config) {
		c.Credentials, c.Authorize = creds[next], authorize
		next++
	})
}

// newIssuer makes an authority and returns what issues credentials for a name: those of a peer that
// demands a certificate of that authority.
func newIssuer(t *testing.T) func(name string) credentials.TransportCredentials {
	ca := newTestAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return func(name string) credentials.TransportCredentials {
		return credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{ca.issue(t, name)}, RootCAs: pool, ClientCAs: pool,
			ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "localhost", MinVersion: tls.VersionTLS13,
		})
	}
}

// TestConnectionsFromElsewhereNeedCredentials: a connection that proves nothing speaks for a rank
// only within this machine.
func TestConnectionsFromElsewhereNeedCredentials(t *testing.T) {
	from := func(a net.Addr) context.Context { return peer.NewContext(t.Context(), &peer.Peer{Addr: a}) }
	far, near := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}, &net.TCPAddr{IP: net.IPv6loopback, Port: 9}
	c := Config{}
	require.ErrorIs(t, c.trusts(t.Context(), 1), errIdentity, "no peer at all")
	require.ErrorIs(t, c.trusts(from(far), 1), errIdentity)
	require.NoError(t, c.trusts(from(near), 1))
	require.NoError(t, c.trusts(from(&net.UnixAddr{Name: "/x", Net: "unix"}), 1))
	c.Insecure = true
	require.NoError(t, c.trusts(from(far), 1))
	c.Authorize = func(credentials.AuthInfo, transport.Rank) error { return errors.New("no") }
	require.ErrorIs(t, c.trusts(from(near), 1), errIdentity)
}
