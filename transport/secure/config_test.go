package secure_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

func TestValidateReportsEveryFault(t *testing.T) {
	require.NoError(t, secure.Config{}.Validate())
	require.False(t, secure.Config{}.Enabled())
	err := secure.Config{
		Secret: secure.Secret("short"), SecretFile: "f",
		TLS: &secure.TLS{CertFile: "c", Job: "a b", GetCertificate: func() (*tls.Certificate, error) { return nil, nil }},
	}.Validate()
	for _, part := range []string{"TLS and a secret", "Secret and SecretFile", "5 bytes", "beside GetCertificate", "GetRoots", `"a b"`} {
		require.ErrorContains(t, err, part)
	}
	require.ErrorContains(t, secure.Config{TLS: &secure.TLS{KeyFile: "k"}}.Validate(), "must both be set")
	both := &secure.TLS{CertFile: "c", KeyFile: "k", CAFile: "a", GetRoots: func() (*x509.CertPool, error) { return nil, nil }}
	require.ErrorContains(t, secure.Config{TLS: both}.Validate(), "GetRoots")
}

func TestOnlyTLSIsEncrypted(t *testing.T) {
	require.True(t, secure.Config{TLS: &secure.TLS{}}.Encrypted())
	for _, c := range []secure.Config{{}, knows(secretText), {SecretFile: "f"}} {
		require.False(t, c.Encrypted())
	}
}

func TestJobNamesThatCannotStandInCertificates(t *testing.T) {
	a := authority(t)
	for _, name := range []string{"", "a b", "a/b", "a..b", ".a", "a.", "prte@7", "a:1", "é", strings.Repeat("x", 64)} {
		c, err := a.Config("ok", 0)
		require.NoError(t, err)
		_, err = secure.NewGuard(c, name, 0, nil)
		require.ErrorContains(t, err, "set TLS.Job", name)
		c.TLS.Job = "ok"
		_, err = secure.NewGuard(c, name, 0, nil)
		require.NoError(t, err, name)
	}
	for _, name := range []string{"a", "slurm.12.0", "job_7-b"} {
		c, err := a.Config(name, 0)
		require.NoError(t, err)
		_, err = secure.NewGuard(c, name, 0, nil)
		require.NoError(t, err, name)
	}
	require.Equal(t, "switchyard://slurm.12.0/rank/3", secure.Name("slurm.12.0", 3))
	require.Equal(t, "switchyard://j/rank/*", secure.Name("j", transport.None))
}

func TestFilesThatDoNotServeAreNamed(t *testing.T) {
	dir := t.TempDir()
	missing := secure.Config{TLS: &secure.TLS{CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"), CAFile: filepath.Join(dir, "ca")}}
	_, err := secure.NewGuard(missing, job, 0, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, filepath.Join(dir, "cert"))
	require.ErrorContains(t, err, filepath.Join(dir, "ca"))
	require.NoError(t, os.WriteFile(missing.TLS.CAFile, []byte("no pem"), 0o600))
	_, err = secure.NewGuard(missing, job, 0, nil)
	require.ErrorContains(t, err, "no certificate in")
}
