package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Config says how ranks authenticate each other. The zero value is no authentication.
type Config struct {
	// TLS authenticates and encrypts by certificates.
	TLS *TLS
	// Secret authenticates by a secret that all ranks share, at least 16 bytes. It should be
	// random.
	Secret Secret
	// SecretFile holds such a secret; one line break at its end is not part of it.
	SecretFile string
}

// TLS names a rank's certificate, its key, and the authority that has signed those of all ranks: as
// files of PEM, or as functions.
type TLS struct {
	// CertFile holds this rank's certificate and the intermediate certificates up to the authority.
	// It must permit the use by servers and by clients.
	CertFile string
	// KeyFile holds the certificate's private key.
	KeyFile string
	// CAFile holds the certificates of the authorities that are trusted. Those of the system are
	// not.
	CAFile string

	// GetCertificate, if set, replaces CertFile and KeyFile. It is called for every connection,
	// possibly by several goroutines at once.
	GetCertificate func() (*tls.Certificate, error) `json:"-"`
	// GetRoots, if set, replaces CAFile. It is called for every connection, as GetCertificate is.
	GetRoots func() (*x509.CertPool, error) `json:"-"`

	// Job is the name of the job in certificates, if it differs from the job's own: a launcher may
	// give each run another name, and certificates are made before.
	Job string
	// AnyRank also accepts certificates for switchyard://<job>/rank/*, one for a whole job. A rank
	// that is compromised can then speak for every other.
	AnyRank bool
}

// mode is how a rank authenticates its connections.
type mode byte

const (
	plain mode = iota + 1
	byTLS
	bySecret
)

func (m mode) String() string {
	switch m {
	case plain:
		return "no security"
	case byTLS:
		return "TLS"
	case bySecret:
		return "a shared secret"
	}
	return fmt.Sprintf("mode %d", byte(m))
}

func (c Config) mode() mode {
	switch {
	case c.TLS != nil:
		return byTLS
	case c.Secret != nil || c.SecretFile != "":
		return bySecret
	}
	return plain
}

// Enabled reports whether c asks for any security.
func (c Config) Enabled() bool { return c.mode() != plain }

// Encrypted reports whether what travels cannot be read on the way.
func (c Config) Encrypted() bool { return c.mode() == byTLS }

// Validate reports everything that is wrong with c, without reading a file, and changes nothing.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("secure: "+format, args...)) }
	if c.TLS != nil && (c.Secret != nil || c.SecretFile != "") {
		fault("TLS and a secret are both configured: TLS needs no secret")
	}
	if c.Secret != nil && c.SecretFile != "" {
		fault("Secret and SecretFile %q are both set", c.SecretFile)
	}
	if c.Secret != nil && len(c.Secret) < minSecretBytes {
		fault("Secret has %d bytes, at least %d are needed", len(c.Secret), minSecretBytes)
	}
	if c.TLS != nil {
		faults = append(faults, c.TLS.faults()...)
	}
	return errors.Join(faults...)
}

func (t *TLS) faults() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("secure: "+format, args...)) }
	files := t.CertFile != "" || t.KeyFile != ""
	switch {
	case files && t.GetCertificate != nil:
		fault("CertFile %q or KeyFile %q is set beside GetCertificate", t.CertFile, t.KeyFile)
	case t.GetCertificate == nil && (t.CertFile == "" || t.KeyFile == ""):
		fault("CertFile %q and KeyFile %q must both be set, or GetCertificate", t.CertFile, t.KeyFile)
	}
	if (t.CAFile == "") == (t.GetRoots == nil) {
		fault("one of CAFile %q and GetRoots must be set", t.CAFile)
	}
	if t.Job != "" {
		if err := checkJobName(t.Job); err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}
