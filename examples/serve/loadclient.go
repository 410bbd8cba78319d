package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// loadClient sends requests as a patient client does: after an error it waits a little.
type loadClient struct {
	http  *http.Client
	url   string
	token string
	dim   int
}

// errorPause is how long it waits.
const errorPause = 50 * time.Millisecond

func newLoadClient(o *options, url string) *loadClient {
	return &loadClient{
		http:  &http.Client{Timeout: o.requestTimeout + o.readTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: o.loadClients}},
		url:   strings.TrimSuffix(url, "/"),
		token: o.token, dim: o.dim,
	}
}

func (c *loadClient) close() { c.http.CloseIdleConnections() }

// awaitReady waits until the server answers.
func (c *loadClient) awaitReady(ctx context.Context) error {
	for {
		if code, _, err := c.send(ctx, http.MethodGet, "/readyz", nil); err == nil && code == http.StatusOK {
			return nil
		}
		if !pause(ctx, errorPause) {
			return errors.New("the server did not become ready")
		}
	}
}

// ask sends one question and counts what comes of it.
func (c *loadClient) ask(ctx context.Context, q question, t *tally) {
	sent := time.Now()
	code, body, err := c.send(ctx, http.MethodPost, evalPath, q.body)
	if ctx.Err() != nil {
		return // the time is over
	}
	if err != nil {
		t.refused(kindOf(err), err.Error())
	} else if code == http.StatusOK {
		c.check(q, body, sent, t)
		return
	} else if reason, err := reasonOf(body); err != nil {
		t.bad(fmt.Errorf("HTTP %d: %w", code, err))
	} else {
		t.refused(fmt.Sprintf("HTTP %d", code), reason)
	}
	pause(ctx, errorPause)
}

func (c *loadClient) check(q question, body []byte, sent time.Time, t *tally) {
	got, err := decodeTokens(body, c.dim)
	if err == nil {
		err = q.check(got)
	}
	if err != nil {
		t.bad(err)
		return
	}
	t.right(sent)
}

func (c *loadClient) send(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}

// reasonOf returns the reason of a refusal.
func reasonOf(body []byte) (string, error) {
	var e struct{ Error string }
	if err := json.Unmarshal(body, &e); err != nil || e.Error == "" {
		return "", fmt.Errorf("an answer without a reason: %.80q", body)
	}
	return e.Error, nil
}

// kindOf sorts the errors of connections, as while the front starts again.
func kindOf(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection ended"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return "other"
}

// pause waits, and returns false if ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
