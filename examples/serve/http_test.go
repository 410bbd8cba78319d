package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// get sends a request and returns status and body.
func get(t *testing.T, client *http.Client, method, url, token, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	answer, err := client.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(text)
}

// TestHTTPErrors: each has its status and, as JSON, its reason.
func TestHTTPErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600))
	j := startJob(t, 1, flags(t, "-dim", "2", "-max-body", "200", "-max-tokens", "3", "-token-file", file))
	client := new(http.Client)
	defer client.CloseIdleConnections()
	const token, ok = "Bearer 0123456789abcdef", `{"tokens":[[1,2]]}`
	for _, c := range []struct {
		method, path, token, body string
		code                      int
		says                      string
	}{
		{"POST", evalPath, token, ok, 200, `{"tokens":[[`},
		{"POST", evalPath, "bearer 0123456789abcdef", ok, 200, `{"tokens":[[`},
		{"POST", evalPath, "", ok, 401, `{"error":"want the header Authorization: Bearer`},
		{"POST", evalPath, "Bearer 0123456789abcdeF", ok, 401, "want the header"},
		{"POST", evalPath, "Basic 0123456789abcdef", ok, 401, "want the header"},
		{"POST", evalPath, token, `{"tokens":[[1,2],[3]]}`, 400, `token 1 has 1 numbers, want 2`},
		{"POST", evalPath, token, `{"tokens":[]}`, 400, "no tokens"},
		{"POST", evalPath, token, `{"tokens":null}`, 400, "no tokens"},
		{"POST", evalPath, token, `{"tokens":[null]}`, 400, "null in tokens"},
		{"POST", evalPath, token, `{"tokens":[[1,null]]}`, 400, "null in tokens"},
		{"POST", evalPath, token, `{"tokens":[[1,1e39]]}`, 400, "1e39"},
		{"POST", evalPath, token, `{"token":[[1,2]]}`, 400, "unknown field"},
		{"POST", evalPath, token, ok + "x", 400, "goes on after"},
		{"POST", evalPath, token, "[1", 400, "the body: "},
		{"POST", evalPath, token, `{"tokens":[[1,2],[1,2],[1,2],[1,2]]}`, 400, "4 tokens, want at most 3"},
		{"POST", evalPath, token, strings.Repeat(" ", 201) + ok, 413, "more than 200 bytes"},
		{"POST", evalPath, token, `{"tokens":[[3e38,3e38]]}`, 422, "the answer is not finite: token 0, number "},
		{"GET", evalPath, token, "", 405, "has method POST, not GET"},
		{"POST", "/readyz", "", "", 405, "has method GET, not POST"},
		{"GET", "/", "", "", 404, `nothing at \"/\"`},
		{"GET", "/readyz", "", "", 200, "ready\n"},
		{"GET", "/healthz", "", "", 200, "ok\n"},
		{"GET", "/metrics", "", "", 200, "serve_requests_total{code=\"400\"} 10\n"},
	} {
		answer, text := get(t, client, c.method, j.url+c.path, c.token, c.body)
		require.Equal(t, c.code, answer.StatusCode, "%+v: %s", c, text)
		require.Contains(t, text, c.says, "%+v", c)
		if c.code >= 400 {
			require.Equal(t, "application/json", answer.Header.Get("Content-Type"))
		}
	}
}

// TestTooManyRequests get a status, a reason and when to come again, and do no harm.
func TestTooManyRequests(t *testing.T) {
	j := startJob(t, 2, flags(t, "-rate", "0.1", "-burst", "2"))
	client := new(http.Client)
	defer client.CloseIdleConnections()
	const body = `{"tokens":[[1,2,3,4,5,6,7,8]]}`
	for range 2 {
		answer, text := get(t, client, "POST", j.url+evalPath, "", body)
		require.Equal(t, 200, answer.StatusCode, text)
	}
	answer, text := get(t, client, "POST", j.url+evalPath, "", body)
	require.Equal(t, 429, answer.StatusCode)
	require.Equal(t, "10", answer.Header.Get("Retry-After"))
	require.Contains(t, text, "more than 0.1 requests a second")
}

// TestSlowClientLosesItsConnection, and another one is answered meanwhile.
func TestSlowClientLosesItsConnection(t *testing.T) {
	o := flags(t, "-io-timeout", "300ms")
	list, err := o.newQuestions(t.Context(), 1, 1)
	require.NoError(t, err)
	j := startJob(t, 2, o)
	for _, part := range []string{
		"POST /v1/eval HT",
		"POST /v1/eval HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n{\"tokens\"",
	} {
		slow, err := net.Dial("tcp", strings.TrimPrefix(j.url, "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprint(slow, part)
		require.NoError(t, err)
		y, err := j.evaluate(t.Context(), list[0].values)
		require.NoError(t, err)
		require.NoError(t, list[0].check(y))
		text, err := io.ReadAll(bufio.NewReader(slow)) // until the server ends it
		require.NoError(t, err)
		if strings.Contains(part, "Length") {
			require.Contains(t, string(text), "HTTP/1.1 400 Bad Request")
			require.Contains(t, string(text), "reading the body: ")
		}
		require.NoError(t, slow.Close())
	}
	require.Nil(t, j.state.refusal())
}

// TestAnswerThatComesTooLate is an error, and the batch goes its way.
func TestAnswerThatComesTooLate(t *testing.T) {
	o := flags(t, "-timeout", "20ms", "-delay", "1h")
	s := newServer(o, quiet())
	require.Equal(t, 503, s.admit("", clientOf("")).code, "starting")
	s.state.set(nil)
	require.Nil(t, s.admit("", clientOf("")))
	s.state.set(unavailable("draining"))
	require.Equal(t, 504, codeOf(s.evaluate(t.Context(), make([]float32, 8))))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, clientLeft, codeOf(s.evaluate(ctx, make([]float32, 8))))
	require.Equal(t, 400, codeOf(s.evaluate(t.Context(), make([]float32, 7))))
}

// TestAnswerCounts, although the client's time ended and the job failed in the same moment.
func TestAnswerCounts(t *testing.T) {
	s := newServer(flags(t), quiet())
	s.state.fail(errors.New("over"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		r := &request{done: make(chan answer, 1)}
		r.done <- answer{values: []float32{1}}
		y, err := s.wait(ctx, r)
		require.NoError(t, err)
		require.Equal(t, []float32{1}, y)
	}
}

func codeOf(_ []float32, err error) int { return err.(*refusal).code }
