package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// listeners are where clients come in.
type listeners struct {
	httpAddr, grpcAddr net.Addr
	http               *http.Server
	grpc               *grpc.Server // nil without -grpc
	serving            sync.WaitGroup
}

// listen begins to serve: that the process lives, at first, and not yet that it is ready.
func (s *server) listen() (*listeners, error) {
	l := &listeners{http: s.newHTTP()}
	web, err := net.Listen("tcp", s.options.http)
	if err != nil {
		return nil, fmt.Errorf("-http: %w", err)
	}
	if s.options.grpc != "" {
		end, err := net.Listen("tcp", s.options.grpc)
		if err != nil {
			_ = web.Close() // nobody has come yet
			return nil, fmt.Errorf("-grpc: %w", err)
		}
		l.grpc, l.grpcAddr = s.newGRPC(), end.Addr()
		l.serve(s, "gRPC", func() error { return l.grpc.Serve(end) })
	}
	l.httpAddr = web.Addr()
	l.serve(s, "HTTP", func() error { return l.http.Serve(web) })
	return l, nil
}

// serve runs until stop, or the end of the job: a front that cannot accept is of no use.
func (l *listeners) serve(s *server, name string, run func() error) {
	l.serving.Go(func() {
		if err := run(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			s.state.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// stop accepts nothing more, gives what is under way some time, and ends.
func (l *listeners) stop(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var graceful sync.WaitGroup
	if l.grpc != nil {
		defer context.AfterFunc(ctx, l.grpc.Stop)()
		graceful.Go(l.grpc.GracefulStop)
	}
	if err := l.http.Shutdown(ctx); err != nil {
		_ = l.http.Close() // it is the end
	}
	graceful.Wait()
	l.serving.Wait()
}
