package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/switchyard-moe/switchyard/examples/serve/internal/servepb"
)

// maxStreams is how many requests may be under way on one connection of gRPC.
const maxStreams = 128

// grpcService answers over gRPC what handleEval answers over HTTP.
type grpcService struct {
	servepb.UnimplementedEvaluationServer
	s *server
}

// newGRPC returns the server for gRPC. A client that no longer answers pings loses its connection.
func (s *server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(s.maxBody), grpc.MaxHeaderListSize(uint32(s.maxHeader)),
		grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(s.readTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleTimeout, Time: idleTimeout / 4, Timeout: s.readTimeout,
		}),
	)
	servepb.RegisterEvaluationServer(g, grpcService{s: s})
	return g
}

// Eval answers the tokens of a request.
func (g grpcService) Eval(ctx context.Context, in *servepb.Tokens) (*servepb.Tokens, error) {
	begin := time.Now()
	y, err := g.eval(ctx, in)
	why := (*refusal)(nil)
	if !errors.As(err, &why) {
		g.s.metrics.addRequest(http.StatusOK, time.Since(begin))
		return &servepb.Tokens{Dim: in.Dim, Values: y}, nil
	}
	g.s.metrics.addRequest(why.code, time.Since(begin))
	if why.retry > 0 {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("retry-after", strconv.Itoa(why.seconds())))
	}
	return nil, status.Error(codeOfGRPC(why.code), why.reason)
}

func (g grpcService) eval(ctx context.Context, in *servepb.Tokens) ([]float32, error) {
	sent := ""
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
		sent = values[0]
	}
	client := clientOf("")
	if p, ok := peer.FromContext(ctx); ok {
		client = clientOf(p.Addr.String())
	}
	if why := g.s.admit(sent, client); why != nil {
		return nil, why
	}
	defer g.s.clients.leave(client)
	if int64(in.Dim) != int64(g.s.dim) {
		return nil, refuse(http.StatusBadRequest, "dim is %d, want %d", in.Dim, g.s.dim)
	}
	return g.s.evaluate(ctx, in.Values)
}

// codeOfGRPC is what gRPC calls a status of HTTP.
func codeOfGRPC(code int) codes.Code {
	switch code {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusUnprocessableEntity:
		return codes.FailedPrecondition
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	case clientLeft:
		return codes.Canceled
	}
	return codes.Unknown
}
