package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// evalPath is where tokens are evaluated.
const evalPath = "/v1/eval"

// idleTimeout is how long a connection without requests stays open.
const idleTimeout = 2 * time.Minute

// newHTTP returns the server for HTTP. A client that is slow to send its header, its body or to
// read its answer loses its connection.
func (s *server) newHTTP() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc(evalPath, s.handle(http.MethodPost, s.handleEval))
	mux.HandleFunc("/healthz", s.handle(http.MethodGet, func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.WriteString(w, "ok\n")
		return err
	}))
	mux.HandleFunc("/readyz", s.handle(http.MethodGet, s.handleReady))
	mux.HandleFunc("/metrics", s.handle(http.MethodGet, s.handleMetrics))
	mux.HandleFunc("/", s.handle("", func(_ http.ResponseWriter, r *http.Request) error {
		return refuse(http.StatusNotFound, "nothing at %q; see %s", r.URL.Path, evalPath)
	}))
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: s.readTimeout, MaxHeaderBytes: s.maxHeader, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// handle checks the method and writes errors.
func (s *server) handle(method string, do func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		connection, end := http.NewResponseController(w), time.Now().Add(s.readTimeout)
		// In place of those of the request before on the same connection.
		_, _ = connection.SetReadDeadline(end), connection.SetWriteDeadline(end)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		var err error
		if method != "" && r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
			w.Header().Set("Allow", method)
			err = refuse(http.StatusMethodNotAllowed, "%s has method %s, not %s", r.URL.Path, method, r.Method)
		} else {
			err = do(w, r)
		}
		if err != nil {
			s.writeError(w, err)
		}
	}
}

// handleEval answers the tokens of a request.
func (s *server) handleEval(w http.ResponseWriter, r *http.Request) error {
	begin := time.Now()
	err := s.eval(w, r)
	code := http.StatusOK
	if why := (*refusal)(nil); errors.As(err, &why) {
		code = why.code
	}
	s.metrics.addRequest(code, time.Since(begin))
	return err
}

func (s *server) eval(w http.ResponseWriter, r *http.Request) error {
	client := clientOf(r.RemoteAddr)
	if why := s.admit(r.Header.Get("Authorization"), client); why != nil {
		return why
	}
	defer s.clients.leave(client)
	values, err := s.readTokens(w, r)
	if err != nil {
		return err
	}
	y, err := s.evaluate(r.Context(), values)
	if err != nil {
		return err
	}
	text, err := encodeTokens(y, s.dim)
	if err != nil {
		return err
	}
	s.write(w, http.StatusOK, text)
	return nil
}

// readTokens reads the body, and then gives the connection time to wait for the answer.
func (s *server) readTokens(w http.ResponseWriter, r *http.Request) ([]float32, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.maxBody)))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", large.Limit)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "reading the body: %v", err)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	values, err := decodeTokens(body, s.dim)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	return values, nil
}

func (s *server) handleReady(w http.ResponseWriter, _ *http.Request) error {
	if why := s.state.refusal(); why != nil {
		return why
	}
	_, err := io.WriteString(w, "ready\n")
	return err
}

func (s *server) handleMetrics(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	s.metrics.write(w, s.state.refusal() == nil, s.clients.underWay())
	return nil
}

// writeError answers with the reason, as JSON.
func (s *server) writeError(w http.ResponseWriter, err error) {
	why := (*refusal)(nil)
	if !errors.As(err, &why) || why.code == clientLeft {
		return // the connection is gone
	}
	if why.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(why.seconds()))
	}
	if why.code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	text, _ := json.Marshal(map[string]string{"error": why.reason}) // strings can be encoded
	s.write(w, why.code, append(text, '\n'))
}

// write gives the client a bounded time to read.
func (s *server) write(w http.ResponseWriter, code int, text []byte) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.readTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(code)
	_, _ = w.Write(text) // a client that has left needs none
}
