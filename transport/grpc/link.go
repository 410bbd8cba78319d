package grpc

import (
	"context"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// windowBytes is how much a peer may send on a stream before this rank has taken it. gRPC keeps
	// it meanwhile, and what all peers have under way should fit into the caches: with windows of 4
	// MiB messages of 1 and of 16 MiB took
	// 1.1 to 1.3 times as long. It is enough for 10 Gb/s and 0.4 ms of round trip with each peer.
	windowBytes = 512 << 10
	// writeBufferBytes and readBufferBytes are how much gRPC gathers for one system call.
	writeBufferBytes = 256 << 10
	readBufferBytes  = 256 << 10
	// linkTimeout is how long a connection may take to say that it ends, before it is cut.
	linkTimeout = 250 * time.Millisecond
	// maxHeaderBytes bounds the headers of a call.
	maxHeaderBytes = 8 << 10
	// dialTimeout is how long one attempt to connect may take.
	dialTimeout = 5 * time.Second
	// redialFirst and redialMost bound the pause between attempts to reach a peer.
	redialFirst = 5 * time.Millisecond
	redialMost  = 250 * time.Millisecond
)

// noPings leaves keepalive out, whatever the caller's options say: the mesh has heartbeats, and a
// server ends connections on which it is asked for signs of life more often than its own options
// allow.
var noPings = []grpc.DialOption{grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: math.MaxInt64})}

// link is a connection that this rank has dialled.
type link struct {
	*grpc.ClientConn

	mu   sync.Mutex
	conn net.Conn // the latest
	err  error    // why there is no connection, after an attempt that failed
}

// newLink prepares a connection with addr, which is made when a stream needs it.
func newLink(cfg *Config, addr string) (*link, error) {
	l := &link{}
	cc, err := grpc.NewClient("passthrough:///"+addr, slices.Concat(l.options(cfg), cfg.DialOptions, noPings)...)
	l.ClientConn = cc
	return l, err
}

func (l *link) options(cfg *Config) []grpc.DialOption {
	creds := cfg.Credentials
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(l.dial),
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithStaticConnWindowSize(windowBytes),
		grpc.WithWriteBufferSize(writeBufferBytes),
		grpc.WithReadBufferSize(readBufferBytes),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableHealthCheck(),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialFirst, Multiplier: 2, Jitter: 0.2, MaxDelay: redialMost},
			MinConnectTimeout: dialTimeout,
		}),
	}
}

func (l *link) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err = err; err == nil {
		l.conn = c
	}
	return c, err
}

// unreached is why the address cannot be reached, or else err.
func (l *link) unreached(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	return err
}

// close closes the connection. gRPC waits for seconds until a peer that takes nothing has been told
// so, which is why it is cut before.
func (l *link) close() {
	cut := time.AfterFunc(linkTimeout, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.conn != nil {
			_ = l.conn.Close()
		}
	})
	defer cut.Stop()
	_ = l.ClientConn.Close()
}
