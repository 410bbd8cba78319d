package admission

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/secure/securetest"
)

// How the ranks of the job authenticate each other.
const (
	securityNone   = "none"
	securitySecret = "secret"
	securityTLS    = "tls"
)

func securities() []string { return []string{securityNone, securitySecret, securityTLS} }

// certificateJob is what certificates call the job.
const certificateJob = "bench"

func rankDir(dir string, rank int) string { return filepath.Join(dir, fmt.Sprintf("rank.%d", rank)) }

// writeSecurity makes what the ranks will need.
func (o *options) writeSecurity(dir string) error {
	switch o.security {
	case securitySecret:
		return os.WriteFile(filepath.Join(dir, securitySecret), []byte(rand.Text()), 0o600)
	case securityTLS:
		authority, err := securetest.NewAuthority()
		for r := 0; r < o.ranks && err == nil; r++ {
			err = writeCertificate(authority, rankDir(dir, r), transport.Rank(r))
		}
		return err
	}
	return nil
}

func writeCertificate(a *securetest.Authority, dir string, rank transport.Rank) error {
	cert, err := a.Issue(securetest.Leaf{URIs: []string{secure.Name(certificateJob, rank)}})
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		_, err = a.Write(dir, cert)
	}
	return err
}

// readSecurity is the configuration of a rank.
func (r *jobRank) readSecurity(rank int) (secure.Config, error) {
	switch r.security {
	case securityNone:
		return secure.Config{}, nil
	case securitySecret:
		return secure.Config{SecretFile: filepath.Join(r.dir, securitySecret)}, nil
	case securityTLS:
		dir := rankDir(r.dir, rank)
		return secure.Config{TLS: &secure.TLS{
			CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
			Job: certificateJob,
		}}, nil
	}
	return secure.Config{}, fmt.Errorf("no security %q", r.security)
}
