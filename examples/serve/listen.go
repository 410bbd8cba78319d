package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// listeners are where clients come in.
type listeners struct {
	httpAddr, grpcAddr net.Addr
	http               *http.Server
	serving            sync.WaitGroup
}

// listen begins to serve: that the process lives, at first, and not yet that it is ready.
func (s *server) listen() (*listeners, error) {
	l := &listeners{http: s.newHTTP()}
	end, err := net.Listen("tcp", s.options.http)
	if err != nil {
		return nil, fmt.Errorf("-http: %w", err)
	}
	l.httpAddr = end.Addr()
	l.serving.Go(func() {
		if err := l.http.Serve(end); !errors.Is(err, http.ErrServerClosed) {
			s.state.fail(fmt.Errorf("HTTP: %w", err))
		}
	})
	return l, nil
}

// stop accepts nothing more, gives what is under way some time, and ends.
func (l *listeners) stop(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.http.Shutdown(ctx); err != nil {
		_ = l.http.Close()
	}
	l.serving.Wait()
}
