// Package securetest makes certificates, and clients that do not belong to a job, for tests and
// measurements. The keys are new for each authority and held in memory.
package securetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Leaf is the content of a certificate. Zero fields are what a rank needs: valid for an hour around
// now, for the use by servers and clients.
type Leaf struct {
	URIs                []string
	NotBefore, NotAfter time.Time
	Usages              []x509.ExtKeyUsage
}

// NewAuthority makes an authority of its own key.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "switchyard test authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert, key}, err
}

// Issue makes and signs a certificate.
func (a *Authority) Issue(l Leaf) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := l.template()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func (l Leaf) template() (*x509.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: serial(), KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: l.NotBefore, NotAfter: l.NotAfter, ExtKeyUsage: l.Usages,
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().Add(time.Hour)
	}
	if t.ExtKeyUsage == nil {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, s := range l.URIs {
		u, err := url.Parse(s)
		if err != nil {
			return nil, err
		}
		t.URIs = append(t.URIs, u)
	}
	return t, nil
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails
	return n
}

// Roots is a pool of the authority alone.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Config is the security of a rank of job, with a certificate made for it.
func (a *Authority) Config(job string, rank transport.Rank) (secure.Config, error) {
	cert, err := a.Issue(Leaf{URIs: []string{secure.Name(job, rank)}})
	return secure.Config{TLS: &secure.TLS{
		GetCertificate: func() (*tls.Certificate, error) { return cert, nil },
		GetRoots:       func() (*x509.CertPool, error) { return a.Roots(), nil },
	}}, err
}

// Write writes cert, its key and the authority's certificate to dir as cert.pem, key.pem and
// ca.pem, over earlier ones, and returns the configuration that names them.
func (a *Authority) Write(dir string, cert *tls.Certificate) (*secure.TLS, error) {
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	c := &secure.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), CAFile: filepath.Join(dir, "ca.pem")}
	return c, errors.Join(
		writePEM(c.CertFile, "CERTIFICATE", cert.Certificate[0]),
		writePEM(c.KeyFile, "PRIVATE KEY", key),
		writePEM(c.CAFile, "CERTIFICATE", a.cert.Raw),
	)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
