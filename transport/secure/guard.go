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

// ErrUnauthenticated is found beneath errors that say that whoever is at the other end has not
// proven who it is, or has refused this rank's proof. Trying again does not help.
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

// NewGuard returns the guard of a rank of job. It reads the files that c names, and fails if they
// do not serve. log receives what is wrong with them later, when the last good content is used on;
// nil is silent.
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

// secretSource returns what gives the secret. It is a function so that no way of printing a guard
// shows it.
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

// Session tells one meeting of the ranks from every other. It is all zeros before they have met.
type Session [16]byte

// Open proves to rank to, at the other end of conn, which this rank has dialled, who this rank is,
// and has that rank do the same. It returns the connection to speak on, which under TLS is another
// one that owns conn. It ends when conn's deadline passes; on failure conn is the caller's to
// close. Errors under [ErrUnauthenticated] are final.
func (g *Guard) Open(conn net.Conn, to transport.Rank, session Session) (net.Conn, error) {
	switch g.mode {
	case byTLS:
		return g.openTLS(conn, to)
	case bySecret:
		return conn, g.openSecret(conn, to, session)
	}
	return conn, nil
}

// Admit is the other side of Open: conn has been accepted, and the peer says what it has proven
// about itself. What comes in another guard's manner is told so. Without security everybody is
// admitted unseen.
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

// Peer is what a connection has proven about whoever opened it.
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
