package grpc

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// TestHelloNamesWhatDiffers: of two ranks, each thing that they must agree on.
func TestHelloNamesWhatDiffers(t *testing.T) {
	mine := &controlpb.Hello{Job: "a", Size: 4, From: 1, Epoch: 7, Session: []byte{1, 2}, Digest: []byte{3}}
	theirs := func(change func(h *controlpb.Hello)) *controlpb.Hello {
		h := helloAbout(&controlpb.Hello{Job: "a", Size: 4, From: 2, Epoch: 7, Session: []byte{1, 2}, Digest: []byte{3}}, dataStream, 1)
		change(h)
		return h
	}
	require.NoError(t, checkHello(mine, theirs(func(*controlpb.Hello) {}), dataStream))
	for want, change := range map[string]func(h *controlpb.Hello){
		"version 9, here 2":                func(h *controlpb.Hello) { h.Version = 9 },
		`job "b", here "a"`:                func(h *controlpb.Hello) { h.Job = "b" },
		"world size 5, here 4":             func(h *controlpb.Hello) { h.Size = 5 },
		"epoch 8, here 7":                  func(h *controlpb.Hello) { h.Epoch = 8 },
		"session 01, here 0102":            func(h *controlpb.Hello) { h.Session = h.Session[:1] },
		"configuration digest 04, here 03": func(h *controlpb.Hello) { h.Digest = []byte{4} },
		"receiver 3, here 1":               func(h *controlpb.Hello) { h.To = 3 },
		"rank 4, here 1":                   func(h *controlpb.Hello) { h.From = 4 },
		"rank 1, here 1":                   func(h *controlpb.Hello) { h.From = 1 },
		"stream kind STREAM_KIND_CONTROL, here STREAM_KIND_DATA":     func(h *controlpb.Hello) { h.Kind = controlStream },
		"stream kind STREAM_KIND_UNSPECIFIED, here STREAM_KIND_DATA": func(h *controlpb.Hello) { h.Kind = 0 },
	} {
		err := checkHello(mine, theirs(change), dataStream)
		require.ErrorIs(t, err, transport.ErrMismatch, want)
		require.ErrorContains(t, err, want)
	}
}

// TestServicesOfTwoEpochsDoNotJoin, and both say why.
func TestServicesOfTwoEpochsDoNotJoin(t *testing.T) {
	programs := runPrograms(t, 2, nil, func(c *Config) { c.Epoch = uint32(c.Rank) })
	require.ErrorIs(t, programs[1].err, transport.ErrMismatch)
	require.ErrorContains(t, programs[1].err, "epoch 1, here 0")
	require.ErrorIs(t, programs[0].err, transport.ErrMismatch)
	require.ErrorContains(t, programs[0].err, "epoch 1, here 0")
}

// join has one rank of a job of three join at addrs until it has had enough, which takes as long as
// a busy machine may need for one attempt.
func join(t *testing.T, rank transport.Rank, addrs []string) error {
	s, err := NewService(Config{Identity: rendezvous.Identity{Rank: rank, Size: 3, Job: t.Name()}, Limits: transport.Limits{JoinTimeout: 3 * time.Second}})
	require.NoError(t, err)
	_, err = s.Join(t.Context(), addrs)
	require.ErrorIs(t, err, transport.ErrTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	return err
}

func TestJoinNamesTheLastFailure(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		t.Parallel() // it only waits
		addr := loopback.Addr()
		err := join(t, 2, []string{addr, addr})
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.ErrorContains(t, err, addr)
		require.ErrorContains(t, err, "no connection with rank 0, 1")
		require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
	})
	for name, greeting := range map[string]string{"reset": "", "no gRPC": "SSH-2.0-x\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			go answerAll(l, greeting)
			err = join(t, 1, []string{l.Addr().String()})
			require.ErrorContains(t, err, "rank 0: dial "+l.Addr().String())
			require.NotContains(t, strings.ReplaceAll(err.Error(), "latest balancer error", ""), "waiting for connections")
			// What a side sees of a reset depends on whether it was reading, writing or done.
			require.Regexp(t, "connection error|connection reset|broken pipe|EOF", err.Error())
		})
	}
}

// answerAll sends greeting to each connection, and resets the connection.
func answerAll(l net.Listener, greeting string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte(greeting))
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func TestJoinNamesTheRanksThatNeverCame(t *testing.T) {
	t.Parallel()
	err := join(t, 0, nil)
	require.ErrorContains(t, err, "no connection with rank 1, 2")
	require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
}

func TestJoinOnceWithAddresses(t *testing.T) {
	s, err := NewService(Config{Identity: rendezvous.Identity{Rank: 1, Size: 2}})
	require.NoError(t, err)
	_, err = s.Join(t.Context(), nil)
	require.ErrorContains(t, err, "0 addresses, want those of the 1 ranks below")
	_, err = s.Join(t.Context(), []string{"127.0.0.1:1"})
	require.ErrorContains(t, err, "Join called twice")
	far, err := NewService(Config{Identity: rendezvous.Identity{Rank: 1, Size: 2}})
	require.NoError(t, err)
	_, err = far.Join(t.Context(), []string{"192.0.2.1:1"})
	require.ErrorContains(t, err, "192.0.2.1")
	_, err = NewService(Config{Identity: rendezvous.Identity{Rank: 2, Size: 2}})
	require.ErrorContains(t, err, "Rank 2 is outside 0..1")
}
