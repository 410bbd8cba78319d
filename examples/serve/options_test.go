package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUsage(t *testing.T) {
	short := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(short, []byte("0123456789\n"), 0o600))
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-h"}, 0, "POST /v1/eval"},
		{[]string{"-h"}, 0, "-delay duration"},
		{[]string{"x"}, 2, `unknown argument "x"`},
		{[]string{"-dim", "0"}, 2, "-dim 0: want 1 to "},
		{[]string{"-queue", "0", "-k", "0", "-dim", "0"}, 2, "-dim 0: want 1 to 2147483647\n-k 0: want 1 to 2147483647\n-queue 0: "},
		{[]string{"-k", "9"}, 2, "-k 9: there are 8 experts"},
		{[]string{"-timeout", "0s"}, 2, "-timeout 0s: want 1ms or more"},
		{[]string{"-delay", "-1s"}, 2, "-delay -1s: want 0 or more"},
		{[]string{"-rate", "NaN"}, 2, "-rate NaN: want 0 or more"},
		{[]string{"-max-tokens", "300"}, 2, "a request must fit into a batch of 256 tokens"},
		{[]string{"-http", "8080"}, 2, `-http "8080": want host:port`},
		{[]string{"-http", ":8080"}, 2, "-http :8080 serves other machines: set -token-file, or -open"},
		{[]string{"-grpc", "10.0.0.1:8080"}, 2, "-grpc 10.0.0.1:8080 serves other machines"},
		{[]string{"-token-file", short}, 2, "the token has 10 characters, want 16 or more"},
		{[]string{"-token-file", "/no/such"}, 2, "-token-file: open /no/such"},
		{[]string{"-kill", "4"}, 2, "-kill 4: there are 4 ranks"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(t.Context(), c.args, &stdout, &stderr), c.args)
		require.Contains(t, stdout.String()+stderr.String(), c.says, c.args)
	}
}
