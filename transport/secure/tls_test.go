package secure_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/secure/securetest"
)

// shows is the security of a rank that shows cert and trusts a.
func shows(a *securetest.Authority, cert *tls.Certificate) secure.Config {
	return secure.Config{TLS: &secure.TLS{
		GetCertificate: func() (*tls.Certificate, error) { return cert, nil },
		GetRoots:       func() (*x509.CertPool, error) { return a.Roots(), nil },
	}}
}

func TestRanksWithTheirCertificatesTalk(t *testing.T) {
	a := authority(t)
	config := func(r transport.Rank) secure.Config {
		c, err := a.Config(job, r)
		require.NoError(t, err)
		return c
	}
	opened, admitted := together(t, opens(guard(t, config(3), job, 3), 1, secure.Session{}), admits(guard(t, config(1), job, 1), secure.Session{}))
	requireTalk(t, opened, admitted)
	require.NoError(t, admitted.peer.Check(3))
	require.ErrorIs(t, admitted.peer.Check(2), secure.ErrUnauthenticated)
	require.ErrorContains(t, admitted.peer.Check(2), "switchyard://job.1/rank/3")
	require.Equal(t, uint16(tls.VersionTLS13), opened.conn.(*tls.Conn).ConnectionState().Version)
}

// TestBadCertificatesAreRefused connects a rank with each fault to a sound one, and a sound rank to
// it.
func TestBadCertificatesAreRefused(t *testing.T) {
	a, other := authority(t), authority(t)
	now := time.Now()
	right := []string{secure.Name(job, 1)}
	for name, c := range map[string]struct {
		cert *tls.Certificate
		says string
	}{
		"wrong authority": {issue(t, other, securetest.Leaf{URIs: right}), "unknown authority"},
		"expired":         {issue(t, a, securetest.Leaf{URIs: right, NotAfter: now.Add(-time.Second)}), "expired"},
		"not yet valid":   {issue(t, a, securetest.Leaf{URIs: right, NotBefore: now.Add(time.Minute)}), "not yet valid"},
		"no name":         {issue(t, a, securetest.Leaf{}), `names ""`},
		"other scheme":    {issue(t, a, securetest.Leaf{URIs: []string{"spiffe://job.1/rank/1"}}), "names"},
		"wrong job":       {issue(t, a, securetest.Leaf{URIs: []string{secure.Name("job.2", 1)}}), "switchyard://job.2/rank/1"},
		"longer job":      {issue(t, a, securetest.Leaf{URIs: []string{secure.Name("x."+job, 1)}}), "names"},
		"rank with zeros": {issue(t, a, securetest.Leaf{URIs: []string{"switchyard://job.1/rank/01"}}), "names"},
		"rank and more":   {issue(t, a, securetest.Leaf{URIs: []string{"switchyard://job.1/rank/1/2"}}), "names"},
		"all ranks":       {issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, transport.None)}}), "names"},
		"other use":       {issue(t, a, securetest.Leaf{URIs: right, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}), "key usage"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := guard(t, shows(a, c.cert), job, 1)
			good := guard(t, shows(a, issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, 0)}})), job, 0)
			opened, admitted := together(t, opens(bad, 0, secure.Session{}), admits(good, secure.Session{}))
			requireRefused(t, opened.err, admitted.err, c.says)
			opened, admitted = together(t, opens(good, 1, secure.Session{}), admits(bad, secure.Session{}))
			requireRefused(t, admitted.err, opened.err, c.says)
		})
	}
}

// requireRefused requires errors on both sides: one was refused, the other refuses.
func requireRefused(t *testing.T, refused, refuses error, says string) {
	require.ErrorIs(t, refuses, secure.ErrUnauthenticated)
	require.ErrorContains(t, refuses, says)
	require.ErrorIs(t, refused, secure.ErrUnauthenticated)
	require.ErrorContains(t, refused, "bad certificate")
}

func TestRightCertificateOfAnotherRankIsRefused(t *testing.T) {
	a := authority(t)
	zero := guard(t, shows(a, issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, 0)}})), job, 0)
	two := guard(t, shows(a, issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, 2)}})), job, 2)
	opened, admitted := together(t, opens(zero, 1, secure.Session{}), admits(two, secure.Session{}))
	requireRefused(t, admitted.err, opened.err, "rank 1 is claimed under a certificate for \"switchyard://job.1/rank/2\"")
	_, admitted = together(t, opens(two, 0, secure.Session{}), admits(zero, secure.Session{}))
	require.NoError(t, admitted.err)
	require.ErrorIs(t, admitted.peer.Check(1), secure.ErrUnauthenticated)
}

func TestOneCertificateForAJobIfAsked(t *testing.T) {
	a := authority(t)
	c := shows(a, issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, transport.None)}}))
	c.TLS.AnyRank = true
	opened, admitted := together(t, opens(guard(t, c, job, 1), 0, secure.Session{}), admits(guard(t, c, job, 0), secure.Session{}))
	requireTalk(t, opened, admitted)
	require.NoError(t, admitted.peer.Check(7))
}

// TestForeignTLSIsRefused connects to a rank with programs that are no ranks, and the other way.
func TestForeignTLSIsRefused(t *testing.T) {
	a := authority(t)
	cert := issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, 1)}})
	ours := guard(t, shows(a, issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, 0)}})), job, 0)
	right := tls.Config{InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert,
		Certificates: []tls.Certificate{*cert}, NextProtos: []string{"switchyard/1"}}
	none, old, other := right.Clone(), right.Clone(), right.Clone()
	none.Certificates = nil
	old.MaxVersion = tls.VersionTLS12
	other.NextProtos = nil
	handshake := func(c *tls.Conn) side {
		err := c.Handshake()
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		return side{conn: c, err: err}
	}
	for name, foreign := range map[string]*tls.Config{"no certificate": none, "TLS 1.2": old, "another protocol": other} {
		t.Run("client with "+name, func(t *testing.T) {
			theirs, mine := together(t, func(c net.Conn) side { return handshake(tls.Client(c, foreign)) }, admits(ours, secure.Session{}))
			require.Error(t, theirs.err)
			require.Error(t, mine.err)
		})
		if foreign == none {
			continue // a server cannot be without
		}
		t.Run("server with "+name, func(t *testing.T) {
			mine, theirs := together(t, opens(ours, 1, secure.Session{}), func(c net.Conn) side { return handshake(tls.Server(c, foreign)) })
			require.Error(t, theirs.err)
			require.Error(t, mine.err)
		})
	}
	theirs, mine := together(t, func(c net.Conn) side { return handshake(tls.Client(c, &right)) }, admits(ours, secure.Session{}))
	require.NoError(t, theirs.err, "the refusals above must not be for another reason")
	require.NoError(t, mine.err)
}

func TestRotatedCertificateServesNewConnections(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	leaf := securetest.Leaf{URIs: []string{secure.Name(job, 0)}}
	first, second := issue(t, a, leaf), issue(t, a, leaf)
	files, err := a.Write(dir, first)
	require.NoError(t, err)
	zero := guard(t, secure.Config{TLS: files}, job, 0)
	one := guard(t, shows(a, issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, 1)}})), job, 1)
	meet := func() (side, side, []byte) {
		opened, admitted := together(t, opens(one, 0, secure.Session{}), admits(zero, secure.Session{}))
		requireTalk(t, opened, admitted)
		return opened, admitted, opened.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
	}
	opened, admitted, shown := meet()
	require.Equal(t, first.Certificate[0], shown)

	_, err = a.Write(dir, second)
	require.NoError(t, err)
	_, _, shown = meet()
	require.Equal(t, second.Certificate[0], shown)
	requireTalk(t, opened, admitted) // the old connection goes on

	_, err = authority(t).Write(dir, first) // now the authority is another
	require.NoError(t, err)
	refused, refuses := together(t, opens(one, 0, secure.Session{}), admits(zero, secure.Session{}))
	require.Error(t, refused.err)
	require.ErrorContains(t, refuses.err, "unknown authority")
}

func TestHalfRotationUsesTheLastGoodPair(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	leaf := securetest.Leaf{URIs: []string{secure.Name(job, 0)}}
	files, err := a.Write(dir, issue(t, a, leaf))
	require.NoError(t, err)
	zero := guard(t, secure.Config{TLS: files}, job, 0)
	other, err := a.Write(t.TempDir(), issue(t, a, leaf))
	require.NoError(t, err)
	files.KeyFile, other.KeyFile = other.KeyFile, files.KeyFile
	_, err = secure.NewGuard(secure.Config{TLS: files}, job, 0, nil)
	require.ErrorContains(t, err, "private key does not match")
	copyFile(t, files.KeyFile, other.KeyFile) // the key has been written, the certificate not yet
	one := guard(t, shows(a, issue(t, a, securetest.Leaf{URIs: []string{secure.Name(job, 1)}})), job, 1)
	opened, admitted := together(t, opens(one, 0, secure.Session{}), admits(zero, secure.Session{}))
	requireTalk(t, opened, admitted)
}
