package secure

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// protocol is negotiated by ALPN, so that a connection to the server of another program fails.
const protocol = "switchyard/1"

// credentials are a rank's certificate and the authorities that it trusts.
type credentials struct {
	job         string // its name in certificates
	anyRank     bool
	certificate func() (*tls.Certificate, error)
	roots       func() (*x509.CertPool, error)
}

func newCredentials(c TLS, job string, log *slog.Logger) (*credentials, error) {
	k := &credentials{job: job, anyRank: c.AnyRank, certificate: c.GetCertificate, roots: c.GetRoots}
	if c.Job != "" {
		k.job = c.Job
	}
	if k.certificate == nil {
		f := &file[*tls.Certificate]{paths: []string{c.CertFile, c.KeyFile}, log: log, parse: parsePair(c)}
		k.certificate = f.get
	}
	if k.roots == nil {
		f := &file[*x509.CertPool]{paths: []string{c.CAFile}, log: log, parse: parseRoots(c)}
		k.roots = f.get
	}
	_, certErr := k.certificate()
	_, rootErr := k.roots()
	return k, errors.Join(checkJobName(k.job), certErr, rootErr)
}

func parsePair(c TLS) func([][]byte) (*tls.Certificate, error) {
	return func(content [][]byte) (*tls.Certificate, error) {
		pair, err := tls.X509KeyPair(content[0], content[1])
		if err != nil {
			return nil, errtext.Errorf("secure: %s with %s: %w", c.CertFile, c.KeyFile, err)
		}
		return &pair, nil
	}
}

func parseRoots(c TLS) func([][]byte) (*x509.CertPool, error) {
	return func(content [][]byte) (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(content[0]) {
			return nil, fmt.Errorf("secure: no certificate in %s", c.CAFile)
		}
		return pool, nil
	}
}

// config is the configuration of one connection. Sessions are not resumed, so each connection is
// checked against the current roots. verify makes the checks instead of crypto/tls, which would
// check a host name: ranks are identified by a URI.
func (k *credentials) config(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		ClientAuth:                  tls.RequireAnyClientCert,
		InsecureSkipVerify:          true,
		VerifyConnection:            verify,
		NextProtos:                  []string{protocol},
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		GetCertificate:              func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.certificate() },
		GetClientCertificate:        func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.certificate() },
	}
}

// verify checks the peer's certificate up to a root, and returns the ranks that it names.
func (k *credentials) verify(s tls.ConnectionState, usage x509.ExtKeyUsage) (Peer, error) {
	if s.NegotiatedProtocol != protocol {
		return Peer{}, fmt.Errorf("%w: peer speaks %q, want %q", ErrUnauthenticated, s.NegotiatedProtocol, protocol)
	}
	roots, err := k.roots()
	if err != nil {
		return Peer{}, err
	}
	if roots == nil || len(s.PeerCertificates) == 0 {
		return Peer{}, fmt.Errorf("%w: no roots, or no certificate", ErrUnauthenticated)
	}
	intermediates := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	leaf := s.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	return ranksOf(leaf, k.job, k.anyRank)
}

// verifyRank is verify for a peer that must be the given rank.
func (k *credentials) verifyRank(s tls.ConnectionState, rank transport.Rank) error {
	p, err := k.verify(s, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	return p.Check(rank)
}

// jobProtocol is offered beside protocol and never chosen: a rank without TLS recognizes by it that
// the peer belongs to its own job.
func jobProtocol(tag []byte) string { return "switchyard-job/" + hex.EncodeToString(tag[:16]) }
