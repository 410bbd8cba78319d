package secure

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"github.com/switchyard-moe/switchyard/transport"
)

// ErrUnauthenticated is wrapped by errors that say that the peer has not proven its identity, or
// has refused this rank's proof. Trying again does not help.
var ErrUnauthenticated = errors.New("not authenticated")

// Guard opens and admits the connections of one rank. Its methods may be called by any number of
// goroutines at once.
type Guard struct {
	mode   mode
	job    string
	tag    [sha256.Size]byte // of the job's name, which ranks of one job show before any proof
	rank   transport.Rank
	tls    *credentials
	secret func() ([]byte, error)
}

// NewGuard returns the guard of a rank of job. It reads the files that c names, and fails if one is
// missing or wrong. If one becomes so later, its last good content stays in use and log gets a
// warning; nil is silent.
func NewGuard(c Config, job string, rank transport.Rank, log *slog.Logger) (*Guard, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := &Guard{mode: c.mode(), job: job, tag: sha256.Sum256([]byte(job)), rank: rank}
	var err error
	switch g.mode {
	case byTLS:
		g.tls, err = newCredentials(*c.TLS, job, log)
	case bySecret:
		g.secret, err = secretSource(c, log)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// secretSource returns a function that returns the secret, so that printing a guard in any way does
// not show it.
func secretSource(c Config, log *slog.Logger) (func() ([]byte, error), error) {
	if c.SecretFile == "" {
		own := slices.Clone([]byte(c.Secret))
		return func() ([]byte, error) { return own, nil }, nil
	}
	f := &file[[]byte]{paths: []string{c.SecretFile}, log: log, parse: func(content [][]byte) ([]byte, error) {
		return parseSecret(c.SecretFile, content[0])
	}}
	_, err := f.get()
	return f.get, err
}

// Session identifies one rendezvous of the ranks. It is all zeros before that.
type Session [16]byte

// Open authenticates both ranks of conn, which this rank has dialled, to each other; to is the
// peer. It returns the connection to use, which under TLS is another one that owns conn. It ends
// when conn's deadline passes; on failure the caller closes conn. Errors that wrap
// [ErrUnauthenticated] are final.
func (g *Guard) Open(conn net.Conn, to transport.Rank, session Session) (net.Conn, error) {
	switch g.mode {
	case byTLS:
		return g.openTLS(conn, to)
	case bySecret:
		return conn, g.openSecret(conn, to, session)
	}
	return conn, nil
}

// Admit is the other side of Open, for a connection that this rank has accepted. It also returns
// what the peer has proven about itself. A peer with another kind of security gets a notice that
// says so. Without security every peer is admitted.
func (g *Guard) Admit(conn net.Conn, session Session) (net.Conn, Peer, error) {
	switch g.mode {
	case byTLS:
		return g.admitTLS(conn)
	case bySecret:
		p, err := g.admitSecret(conn, session)
		return conn, p, err
	}
	return conn, Peer{mode: plain, all: true}, nil
}

// Peer is what the dialling side of a connection has proven about itself.
type Peer struct {
	mode  mode
	all   bool
	ranks []transport.Rank
	names string // of its certificate
}

// Check reports whether the peer may speak for rank.
func (p Peer) Check(rank transport.Rank) error {
	if p.all || slices.Contains(p.ranks, rank) {
		return nil
	}
	if p.mode == byTLS {
		return fmt.Errorf("%w: rank %d is claimed under a certificate for %.200q", ErrUnauthenticated, rank, p.names)
	}
	return fmt.Errorf("%w: rank %d is claimed by rank %v", ErrUnauthenticated, rank, p.ranks)
}
