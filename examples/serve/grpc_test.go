package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/switchyard-moe/switchyard/examples/serve/internal/servepb"
)

// dial returns a client of the job.
func (j *job) dial(t *testing.T) servepb.EvaluationClient {
	t.Helper()
	connection, err := grpc.NewClient(j.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, connection.Close()) })
	return servepb.NewEvaluationClient(connection)
}

// TestGRPC: the bits of the request alone, and errors with their codes.
func TestGRPC(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600))
	o := flags(t, "-grpc", "127.0.0.1:0", "-token-file", file, "-max-body", "1000", "-rate", "0.01", "-burst", "12")
	list, err := o.newQuestions(t.Context(), 5, 8)
	require.NoError(t, err)
	client := startJob(t, 2, o).dial(t)
	with := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", token)
	}
	ctx := with("Bearer 0123456789abcdef")
	for _, q := range list {
		got, err := client.Eval(ctx, &servepb.Tokens{Dim: 8, Values: q.values})
		require.NoError(t, err)
		require.NoError(t, q.check(got.Values))
	}
	bad := func(v float32) []float32 { return []float32{1, 2, 3, 4, 5, 6, 7, v} }
	for _, c := range []struct {
		ctx  context.Context
		in   *servepb.Tokens
		code codes.Code
		says string
	}{
		{t.Context(), &servepb.Tokens{Dim: 8, Values: bad(8)}, codes.Unauthenticated, "want the header Authorization"},
		{with("Bearer x"), &servepb.Tokens{Dim: 8, Values: bad(8)}, codes.Unauthenticated, "want the header Authorization"},
		{ctx, &servepb.Tokens{Dim: 4, Values: bad(8)}, codes.InvalidArgument, "dim is 4, want 8"},
		{ctx, &servepb.Tokens{Dim: 1<<32 - 1, Values: bad(8)}, codes.InvalidArgument, "dim is 4294967295"},
		{ctx, &servepb.Tokens{Dim: 8}, codes.InvalidArgument, "no tokens"},
		{ctx, &servepb.Tokens{Dim: 8, Values: bad(8)[1:]}, codes.InvalidArgument, "7 numbers, want a multiple of 8"},
		{ctx, &servepb.Tokens{Dim: 8, Values: bad(float32(math.NaN()))}, codes.InvalidArgument, "token 0, number 7 is NaN"},
		{ctx, &servepb.Tokens{Dim: 8, Values: make([]float32, 256)}, codes.ResourceExhausted, "larger than max"},
		{ctx, &servepb.Tokens{Dim: 8, Values: bad(3e38)}, codes.FailedPrecondition, "not finite"},
	} {
		_, err := client.Eval(c.ctx, c.in)
		require.Equal(t, c.code, status.Code(err), "%v", err)
		require.ErrorContains(t, err, c.says)
	}
	_, err = client.Eval(ctx, &servepb.Tokens{Dim: 8, Values: bad(8)})
	require.NoError(t, err, "the twelfth")
	var trailer metadata.MD
	_, err = client.Eval(ctx, &servepb.Tokens{Dim: 8, Values: bad(8)}, grpc.Trailer(&trailer))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.Len(t, trailer.Get("retry-after"), 1)
	require.False(t, strings.HasPrefix(trailer.Get("retry-after")[0], "0"))
}
