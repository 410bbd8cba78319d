//go:build linux && !purego

package shm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/shmstream"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Supported reports whether this build can share memory between processes: on Linux, without the
// tag purego.
const Supported = true

// Join meets the other ranks at cfg.Addr, shares memory with every one of them and returns this
// rank's end. It ends when ctx does or cfg.JoinTimeout passes, here or on another rank. Its errors
// are those of [rendezvous.Start] and *transport.Error with the operation "join".
func Join(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	a, err := shmstream.NewArena(cfg.ArenaBytes)
	if err != nil {
		return nil, &transport.Error{Rank: cfg.Rank, Op: "join", Err: err}
	}
	t := newTransport(cfg, a)
	if cfg.Size > 1 {
		if err := t.connect(ctx, cfg, a); err != nil {
			t.mesh.Abandon()
			a.Close()
			return nil, err
		}
	}
	t.mesh.Start(true)
	return t, nil
}

// connect learns where the others listen, and opens the streams.
func (t *Transport) connect(ctx context.Context, cfg Config, a *shmstream.Arena) error {
	listen, err := shmstream.Listen()
	if err != nil {
		return &transport.Error{Rank: cfg.Rank, Op: "join", Err: err}
	}
	defer listen.Close()
	settings := cfg.terms()
	m, err := rendezvous.Start(ctx, rendezvous.Config{
		Rank: cfg.Rank, Size: cfg.Size, LocalSize: cfg.Size, Addr: cfg.Addr, Job: cfg.Job,
		Agent: cfg.Agent, Restart: cfg.Restart, Listen: listen.Addr(), Settings: settings,
		Timeout: cfg.JoinTimeout, Net: cfg.Net, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	streams := make(chan shmstream.Opened)
	b := &shmstream.Builder{
		Terms: shmstream.Terms{
			Rank: cfg.Rank, Size: cfg.Size, Epoch: cfg.Epoch, Session: m.Session,
			Digest: rendezvous.Digest(cfg.Job, settings), RingBytes: cfg.RingBytes,
		},
		Arena: a, Listen: listen, Log: cfg.Log, Opened: streams,
	}
	opening, cancel := context.WithCancel(m.Context())
	defer b.Wait()
	defer cancel()
	peers := make(map[transport.Rank]string)
	for r, addr := range m.Addrs {
		if transport.Rank(r) != cfg.Rank {
			peers[transport.Rank(r)] = addr
		}
	}
	b.Open(opening, peers)
	return m.Finish(t.collect(m.Context(), b, streams))
}

// terms are the settings that all ranks must share: the user's and those of the memory.
func (c *Config) terms() map[string]string {
	terms := maps.Clone(c.Settings)
	if terms == nil {
		terms = make(map[string]string)
	}
	terms["shm.epoch"] = strconv.FormatUint(uint64(c.Epoch), 10)
	terms["shm.ring_bytes"] = strconv.Itoa(c.RingBytes)
	return terms
}

// collect attaches streams as they open until there is one for each peer.
func (t *Transport) collect(ctx context.Context, b *shmstream.Builder, streams <-chan shmstream.Opened) error {
	for left := t.Size() - 1; left > 0; left-- {
		select {
		case o := <-streams:
			if o.Err != nil {
				return &transport.Error{Rank: o.Peer, Op: "join", Err: o.Err}
			}
			t.mesh.OpenData(o.Peer, o.Stream, false)
			t.mesh.OpenControl(o.Peer, o.Control)
		case <-t.mesh.Broken():
			return t.mesh.Err("join")
		case <-ctx.Done():
			return t.incomplete(ctx, b)
		}
	}
	return nil
}

// incomplete names the ranks that are missing when time is up, and why this rank could not reach
// them.
func (t *Transport) incomplete(ctx context.Context, b *shmstream.Builder) error {
	missing := t.mesh.Missing()
	names := make([]string, len(missing))
	for i, r := range missing {
		names[i] = fmt.Sprint(r)
	}
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", transport.ErrTimeout, err)
	}
	blamed := missing[0]
	for _, r := range missing {
		if last := b.Failed(r); last != nil {
			blamed, err = r, fmt.Errorf("rank %d: %w: %w", r, last, err)
			break
		}
	}
	return &transport.Error{Rank: blamed, Op: "join",
		Err: fmt.Errorf("no stream to rank %s: %w", strings.Join(names, ", "), err)}
}
