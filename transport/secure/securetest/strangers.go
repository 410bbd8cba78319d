package securetest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"time"
)

// Stranger is somebody who connects to a port of a job and is no rank of it.
type Stranger struct {
	Name string
	// say is what it says at once; slow strangers say it at a byte a second.
	say   func() []byte
	slow  bool
	reset bool
}

// Strangers are those that any open port meets, and ranks of other configurations.
func Strangers() []Stranger {
	text := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	return []Stranger{
		{Name: "reset", say: text(""), reset: true},
		{Name: "silence", say: text("")},
		{Name: "http", say: text("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{Name: "tls", say: tlsHello},
		{Name: "random", say: random},
		{Name: "meeting", say: text("SWYR\x00\x01\x00\x01" + string(make([]byte, 32)) + "\xff\xff\xff\xff")},
		{Name: "lane", say: text("SWYH\x00\x01\x00\x01" + string(make([]byte, 68)))},
		{Name: "secret", say: text("SWYA\x00\x01\x00\x01" + string(make([]byte, 88)))},
		{Name: "short", say: text("SWYR")},
		{Name: "slow", say: random, slow: true},
	}
}

// Visit connects to addr, behaves, and returns how long it was until the connection was dropped. It
// fails if nobody listens, or ctx ends before.
func (s Stranger) Visit(ctx context.Context, addr string) (time.Duration, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	start := time.Now()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if s.reset {
		_ = conn.(*net.TCPConn).SetLinger(0)
		return 0, nil
	}
	said := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(said)
		s.speak(conn, gone)
	}()
	_, _ = io.Copy(io.Discard, conn)
	close(gone)
	<-said
	return time.Since(start), ctx.Err()
}

// speak says what s has to say, unless it is dropped before.
func (s Stranger) speak(conn net.Conn, gone <-chan struct{}) {
	if !s.slow {
		_, _ = conn.Write(s.say())
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for _, b := range s.say() {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-gone:
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
