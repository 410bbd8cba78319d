package secure_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

const (
	secretText = "correct horse battery staple"
	otherText  = "incorrect horse battery staple"
)

func knows(text string) secure.Config { return secure.Config{Secret: secure.Secret(text)} }

var session = secure.Session{1, 2, 3}

func copyFile(t *testing.T, from, to string) {
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

func TestRanksWithOneSecretTalk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(secretText+"\n"), 0o600))
	zero, two := guard(t, secure.Config{SecretFile: path}, job, 0), guard(t, knows(secretText), job, 2)
	opened, admitted := together(t, opens(two, 0, session), admits(zero, session))
	requireTalk(t, opened, admitted)
	require.NoError(t, admitted.peer.Check(2))
	require.ErrorIs(t, admitted.peer.Check(1), secure.ErrUnauthenticated)

	require.NoError(t, os.WriteFile(path, []byte(otherText), 0o600))
	opened, admitted = together(t, opens(two, 0, session), admits(zero, session))
	require.ErrorIs(t, admitted.err, secure.ErrUnauthenticated, "the file has changed")
	require.ErrorIs(t, opened.err, secure.ErrUnauthenticated)
}

func TestSecretHandshakesThatDoNotFitAreRefused(t *testing.T) {
	one := guard(t, knows(secretText), job, 1)
	for says, c := range map[string]struct {
		zero    *secure.Guard
		to      transport.Rank
		session secure.Session
	}{
		"another secret":          {guard(t, knows(otherText), job, 0), 0, session},
		"another job":             {guard(t, knows(secretText), "job.2", 0), 0, session},
		"another rank or session": {guard(t, knows(secretText), job, 0), 0, secure.Session{9}},
		"another rank":            {guard(t, knows(secretText), job, 0), 5, session},
	} {
		t.Run(says, func(t *testing.T) {
			opened, admitted := together(t, opens(one, c.to, session), admits(c.zero, c.session))
			require.ErrorIs(t, opened.err, secure.ErrUnauthenticated)
			require.ErrorContains(t, opened.err, says)
			require.ErrorIs(t, admitted.err, secure.ErrUnauthenticated)
		})
	}
}

func TestServerThatDoesNotKnowTheSecretIsRefused(t *testing.T) {
	one := guard(t, knows(secretText), job, 1)
	forge := func(c net.Conn) side { // one that accepts whatever proof comes, and makes up its own
		_, err := io.ReadFull(c, make([]byte, 96))
		require.NoError(t, err)
		_, _ = c.Write(append([]byte("SWYA\x00\x01\x00\x02"), make([]byte, 32)...))
		_, err = io.ReadFull(c, make([]byte, 40))
		require.NoError(t, err)
		_, _ = c.Write(append([]byte("SWYA\x00\x01\x00\x04"), make([]byte, 32)...))
		return side{}
	}
	opened, _ := together(t, opens(one, 0, session), forge)
	require.ErrorIs(t, opened.err, secure.ErrUnauthenticated)
	require.ErrorContains(t, opened.err, "rank 0 has not proven")
}

// recorder keeps what passes through a connection in both directions.
type recorder struct {
	net.Conn
	sent, heard bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) { r.sent.Write(b); return r.Conn.Write(b) }
func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.heard.Write(b[:n])
	return n, err
}

// replays sends what was once sent, whatever the answers are.
func replays(data []byte) func(net.Conn) side {
	return func(c net.Conn) side {
		_, err := c.Write(data)
		if err == nil {
			_, err = io.Copy(io.Discard, c)
		}
		return side{err: err}
	}
}

func TestReplayedHandshakesAreRefused(t *testing.T) {
	zero, one := guard(t, knows(secretText), job, 0), guard(t, knows(secretText), job, 1)
	var r *recorder
	record := func(c net.Conn) side {
		r = &recorder{Conn: c}
		return opens(one, 0, session)(r)
	}
	opened, admitted := together(t, record, admits(zero, session))
	require.NoError(t, opened.err)
	require.NoError(t, admitted.err)
	_, admitted = together(t, replays(r.sent.Bytes()), func(c net.Conn) side {
		s := admits(zero, session)(c)
		_ = c.Close()
		return s
	})
	require.ErrorIs(t, admitted.err, secure.ErrUnauthenticated, "the dialling side's messages again")
	opened, _ = together(t, opens(one, 0, session), func(c net.Conn) side {
		_, _ = c.Write(r.heard.Bytes())
		return side{}
	})
	require.ErrorIs(t, opened.err, secure.ErrUnauthenticated, "the accepting side's messages again")
}

// TestReflectedHandshakesAreRefused sends everything back to its sender, and connects two
// connections of one rank to each other.
func TestReflectedHandshakesAreRefused(t *testing.T) {
	one := guard(t, knows(secretText), job, 1)
	opened, _ := together(t, opens(one, 1, session), func(c net.Conn) side {
		b := make([]byte, 96)
		_, _ = io.ReadFull(c, b)
		_, _ = c.Write(b)
		return side{}
	})
	require.Error(t, opened.err)

	// the rank's own proof as the answer
	opened, _ = together(t, opens(one, 0, session), func(c net.Conn) side {
		_, _ = io.ReadFull(c, make([]byte, 96))
		_, _ = c.Write(append([]byte("SWYA\x00\x01\x00\x02"), make([]byte, 32)...))
		proof := make([]byte, 40)
		_, _ = io.ReadFull(c, proof)
		_, _ = c.Write(append([]byte("SWYA\x00\x01\x00\x04"), proof[8:]...))
		return side{}
	})
	require.ErrorIs(t, opened.err, secure.ErrUnauthenticated)

	// The rank dials its attacker, which forwards its bytes to the rank's own listener, and back.
	d1, a1 := connection(t)
	d2, a2 := connection(t)
	go func() { _, _ = io.Copy(d2, a1); _ = d2.Close() }()
	go func() { _, _ = io.Copy(a1, d2); _ = a1.Close() }()
	done := make(chan error)
	go func() { _, err := one.Open(d1, 0, session); _ = d1.Close(); done <- err }()
	_, _, err := one.Admit(a2, session)
	require.ErrorIs(t, err, secure.ErrUnauthenticated)
	_ = a2.Close()
	require.ErrorIs(t, <-done, secure.ErrUnauthenticated)
}

func TestSidesOfDifferentSecurityTellEachOther(t *testing.T) {
	a := authority(t)
	config, err := a.Config(job, 1)
	require.NoError(t, err)
	zeroTLS, err := a.Config(job, 0)
	require.NoError(t, err)
	opened, admitted := together(t, opens(guard(t, config, job, 1), 0, session), admits(guard(t, knows(secretText), job, 0), session))
	require.ErrorContains(t, opened.err, "the peer is set to a shared secret")
	require.ErrorContains(t, admitted.err, "the peer comes with TLS, this rank is set to a shared secret")
	opened, admitted = together(t, opens(guard(t, knows(secretText), job, 1), 0, session), admits(guard(t, zeroTLS, job, 0), session))
	require.ErrorContains(t, opened.err, "the peer is set to TLS")
	require.ErrorContains(t, admitted.err, "the peer comes with a shared secret, this rank is set to TLS")
	require.ErrorIs(t, opened.err, transport.ErrMismatch)
}

func TestSecretsAreBounded(t *testing.T) {
	require.ErrorContains(t, knows("fifteen bytes..").Validate(), "has 15 bytes, at least 16")
	require.ErrorContains(t, secure.Config{Secret: secure.Secret{}}.Validate(), "has 0 bytes")
	require.NoError(t, knows("sixteen bytes...").Validate())
	path := filepath.Join(t.TempDir(), "secret")
	for _, content := range []string{"", "\n", "fifteen bytes..\n", "fifteen bytes..\r\n"} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := secure.NewGuard(secure.Config{SecretFile: path}, job, 0, nil)
		require.ErrorContains(t, err, "at least 16 are needed", "%q", content)
	}
	_, err := secure.NewGuard(secure.Config{SecretFile: path + "x"}, job, 0, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestSecretsDoNotShow looks for a secret in everything that might be printed or logged.
func TestSecretsDoNotShow(t *testing.T) {
	var shown bytes.Buffer
	log := slog.New(slog.NewMultiHandler(slog.NewTextHandler(&shown, &slog.HandlerOptions{Level: slog.LevelDebug}),
		slog.NewJSONHandler(&shown, nil)))
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(secretText), 0o600))
	for _, c := range []secure.Config{knows(secretText), {SecretFile: path}} {
		g, err := secure.NewGuard(c, job, 0, log)
		require.NoError(t, err)
		log.Info("all", "config", c, "secret", c.Secret, "guard", g)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b"} {
			fmt.Fprintf(&shown, verb+"\n", c)
			fmt.Fprintf(&shown, verb+"\n", &c)
			fmt.Fprintf(&shown, verb+"\n", c.Secret)
			fmt.Fprintf(&shown, verb+"\n", *g)
		}
		text, err := json.Marshal(map[string]any{"secret": c.Secret, "file": c.SecretFile})
		require.NoError(t, err)
		shown.Write(text)
		opened, admitted := together(t, opens(guard(t, knows(otherText), job, 1), 0, session), admits(g, session))
		fmt.Fprintln(&shown, opened.err, admitted.err)
	}
	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	_, err := secure.NewGuard(secure.Config{SecretFile: path}, job, 0, log)
	fmt.Fprintln(&shown, err, knows("short").Validate())
	require.Contains(t, shown.String(), "[secret]")
	requireHidden(t, shown.Bytes(), []byte(secretText))
	requireHidden(t, shown.Bytes(), []byte(otherText))
}

// requireHidden requires that shown holds no part of secret, in any notation that Go prints bytes
// in.
func requireHidden(t *testing.T, shown, secret []byte) {
	part := secret[:6]
	for _, form := range []string{
		string(part), hex.EncodeToString(part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part),
		base64.StdEncoding.EncodeToString(part), fmt.Sprint(part[0], part[1], part[2]), fmt.Sprintf("%#x, %#x", part[0], part[1]), fmt.Sprintf("%b", part),
	} {
		require.NotContains(t, string(shown), form)
	}
}
