package secure

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/switchyard-moe/switchyard/transport"
)

// ready is the last byte of the accepting side. In TLS 1.3 the dialling side is done before the
// other has checked its certificate; with this byte both know the result.
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
		if theirs, ok := modeOf(header.RecordHeader[:]); ok {
			return nil, Peer{}, reject(conn, theirs, noticeOf(g.mode))
		}
	}
	return nil, Peer{}, failedTLS(err)
}

// failedTLS returns why a handshake failed. A refusal by the peer or this side is final; after a
// lost connection, or an answer that is not TLS, the next attempt may succeed.
func failedTLS(err error) error {
	var header tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return err
	case errors.As(err, &header):
		if refused := ReadNotice(header.RecordHeader[:]); refused != nil {
			return refused
		}
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("%w: the peer refuses this rank: %w", ErrUnauthenticated, err)
	}
	return err
}
