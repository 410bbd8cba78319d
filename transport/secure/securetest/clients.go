package securetest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"time"
)

// Client connects to a port of a job to which it does not belong.
type Client struct {
	Name string
	// data is what it sends: at once, or, if it is slow, a byte a second.
	data  func() []byte
	slow  bool
	reset bool
}

// Clients returns those that any open port meets, and ranks of other configurations.
func Clients() []Client {
	text := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	return []Client{
		{Name: "reset", data: text(""), reset: true},
		{Name: "silence", data: text("")},
		{Name: "http", data: text("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{Name: "tls", data: tlsHello},
		{Name: "random", data: random},
		{Name: "meeting", data: text("SWYR\x00\x01\x00\x01" + string(make([]byte, 32)) + "\xff\xff\xff\xff")},
		{Name: "lane", data: text("SWYH\x00\x01\x00\x01" + string(make([]byte, 68)))},
		{Name: "secret", data: text("SWYA\x00\x01\x00\x01" + string(make([]byte, 88)))},
		{Name: "short", data: text("SWYR")},
		{Name: "slow", data: random, slow: true},
	}
}

// Connect connects to addr, sends what c sends, and returns the time until the other side dropped
// the connection. It fails if nothing listens there, or if ctx ends first.
func (c Client) Connect(ctx context.Context, addr string) (time.Duration, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	start := time.Now()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if c.reset {
		_ = conn.(*net.TCPConn).SetLinger(0)
		return 0, nil
	}
	sent := make(chan struct{})
	dropped := make(chan struct{})
	go func() {
		defer close(sent)
		c.send(conn, dropped)
	}()
	_, _ = io.Copy(io.Discard, conn)
	close(dropped)
	<-sent
	return time.Since(start), ctx.Err()
}

// send sends the data of c, unless the connection is dropped before.
func (c Client) send(conn net.Conn, dropped <-chan struct{}) {
	if !c.slow {
		_, _ = conn.Write(c.data())
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for _, b := range c.data() {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-dropped:
			return
		}
	}
}

func random() []byte {
	b := make([]byte, 4096)
	_, _ = rand.Read(b)
	return b
}

// tlsHello is what a browser says first.
func tlsHello() []byte {
	near, far := net.Pipe()
	go func() {
		_ = tls.Client(near, &tls.Config{ServerName: "x", MinVersion: tls.VersionTLS12}).Handshake()
	}()
	b := make([]byte, 4096)
	n, _ := far.Read(b)
	_ = far.Close()
	_ = near.Close()
	return b[:n]
}
