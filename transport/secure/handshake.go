package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/switchyard-moe/switchyard/transport"
)

// ready is what the accepting side sends last. In TLS 1.3 the side that dials is done before the
// other has looked at its certificate; with this byte both know how it ended.
const ready = 'S'

func (g *Guard) openTLS(conn net.Conn, to transport.Rank) (net.Conn, error) {
	cfg := g.tls.config(func(s tls.ConnectionState) error { return g.tls.verifyRank(s, to) })
	cfg.NextProtos = append(cfg.NextProtos, jobProtocol(g.tag[:]))
	c := tls.Client(conn, cfg)
	var b [1]byte
	err := c.Handshake()
	if err == nil {
		_, err = c.Read(b[:])
	}
	if err == nil && b[0] != ready {
		err = fmt.Errorf("%w: rank %d sent %#02x instead of its consent", transport.ErrProtocol, to, b[0])
	}
	if err != nil {
		return nil, failedTLS(err)
	}
	return c, nil
}

func (g *Guard) admitTLS(conn net.Conn) (net.Conn, Peer, error) {
	var p Peer
	c := tls.Server(conn, g.tls.config(func(s tls.ConnectionState) (err error) {
		p, err = g.tls.verify(s, x509.ExtKeyUsageClientAuth)
		return err
	}))
	err := c.Handshake()
	if err == nil {
		_, err = c.Write([]byte{ready})
	}
	if err == nil {
		return c, p, nil
	}
	var header tls.RecordHeaderError
	if errors.As(err, &header) && header.Conn != nil {
		if came, ok := modeOf(header.RecordHeader[:]); ok {
			return nil, Peer{}, turnAway(conn, came, noticeOf(g.mode))
		}
	}
	return nil, Peer{}, failedTLS(err)
}

// failedTLS states why a handshake failed. What the peer or this side has refused is final; a
// connection that was lost or an answer that is no TLS may go better next time.
func failedTLS(err error) error {
	var header tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return err
	case errors.As(err, &header):
		if told := ReadNotice(header.RecordHeader[:]); told != nil {
			return told
		}
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("%w: the peer refuses this rank: %w", ErrUnauthenticated, err)
	}
	return err
}
