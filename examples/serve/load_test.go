package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLoadTestNoticesWhatIsWrong: a server whose answers are not all right, or whose errors say
// nothing, does not pass.
func TestLoadTestNoticesWhatIsWrong(t *testing.T) {
	o := flags(t)
	list, err := o.newQuestions(t.Context(), 1, 2)
	require.NoError(t, err)
	right, err := encodeTokens(list[0].answer, o.dim)
	require.NoError(t, err)
	off := wrongBody(t, list[0], o.dim)
	for name, c := range map[string]struct {
		code int
		body []byte
		says string
	}{
		"right":                {200, right, ""},
		"one number is wrong":  {200, off, "number "},
		"a row is missing":     {200, []byte(`{"tokens":[]}`), "0 numbers, want "},
		"no JSON":              {200, right[:10], "the body: "},
		"a clear error":        {503, []byte(`{"error":"starting"}`), "no right answer"},
		"an error of no words": {503, []byte(`{"error":""}`), "HTTP 503: an answer without a reason"},
		"an error in no JSON":  {502, []byte(`<html>`), "HTTP 502: an answer without a reason"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.code)
			_, _ = w.Write(c.body) // the test reads it
		}))
		client, seen := newLoadClient(&o, s.URL), newTally()
		client.ask(t.Context(), list[0], seen)
		client.close()
		s.Close()
		var out bytes.Buffer
		err := seen.report(&out, 1, false)
		if c.says == "" {
			require.NoError(t, err, name)
			require.Error(t, seen.report(&out, 1, true), "no rank was killed")
			continue
		}
		require.ErrorContains(t, err, c.says, name)
	}
}

// wrongBody is the answer with its last number a bit off.
func wrongBody(t *testing.T, q question, dim int) []byte {
	t.Helper()
	values := append([]float32(nil), q.answer...)
	values[len(values)-1] *= 1 + 1e-6
	text, err := encodeTokens(values, dim)
	require.NoError(t, err)
	return text
}

// TestReport: rates, and errors by kind.
func TestReport(t *testing.T) {
	seen := newTally()
	for i := range 100 {
		seen.right(time.Now().Add(-time.Duration(i) * time.Millisecond))
	}
	seen.refused("HTTP 503", "the job has failed")
	seen.refused("HTTP 503", "draining")
	seen.refused("connection refused", "dial")
	seen.restarted()
	seen.right(time.Now())
	var out bytes.Buffer
	require.NoError(t, seen.report(&out, 7, true))
	require.Contains(t, out.String(), "7 clients, ")
	require.Contains(t, out.String(), "101 right answers")
	require.Regexp(t, `p50 \d\d\.\d ms, p99 9\d\.\d ms`, out.String())
	require.Contains(t, out.String(), "clear errors, HTTP 503: 2, such as: draining\nclear errors, connection refused: 1, such as: dial\n")
	require.Contains(t, out.String(), "restarts: 1, right answers after the last one: 1\n")
}
