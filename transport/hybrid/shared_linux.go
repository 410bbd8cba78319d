//go:build linux && !purego

package hybrid

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
	"github.com/switchyard-moe/switchyard/transport/internal/shmstream"
)

// host is memory shared with the processes of one machine, network namespace and user.
type host struct {
	name      string
	rank      transport.Rank
	size      int
	epoch     uint32
	ringBytes int
	log       *slog.Logger

	arena   *shmstream.Arena
	listen  *shmstream.Listener
	builder *shmstream.Builder
	wg      sync.WaitGroup
}

// openShared makes ready to share memory, or not to where the system or cfg does not let it.
func openShared(cfg *Config) (sharer, error) {
	name := hostName()
	if cfg.NoSharedMemory || cfg.Size == 1 || name == "" {
		return noMemory{}, nil
	}
	arena, err := shmstream.NewArena(cfg.ArenaBytes)
	if err != nil {
		cfg.Log.Warn("no shared memory", "rank", cfg.Rank, "err", err)
		return noMemory{}, nil
	}
	listen, err := shmstream.Listen()
	if err != nil {
		arena.Close()
		cfg.Log.Warn("no shared memory", "rank", cfg.Rank, "err", err)
		return noMemory{}, nil
	}
	return &host{
		name: name, rank: cfg.Rank, size: cfg.Size, epoch: cfg.Epoch, ringBytes: cfg.RingBytes, log: cfg.Log,
		arena: arena, listen: listen,
	}, nil
}

// hostName tells apart what cannot share memory: machines and their boots, network namespaces
// (whose sockets descriptors travel over) and users. It is "" where that cannot be found out.
func hostName() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	network, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(boot, "\n%s\n%d", network, os.Geteuid()))
	return hex.EncodeToString(sum[:8])
}

func (h *host) host() string { return h.name }
func (h *host) addr() string { return h.listen.Addr() }

func (h *host) open(ctx context.Context, m meshjoin.Meeting, peers map[transport.Rank]string, streams chan<- meshjoin.Opened) {
	opened := make(chan shmstream.Opened)
	h.builder = &shmstream.Builder{
		Terms: shmstream.Terms{
			Rank: h.rank, Size: h.size, Epoch: h.epoch, Session: m.Session, Digest: m.Digest, RingBytes: h.ringBytes,
		},
		Arena: h.arena, Listen: h.listen, Log: h.log, Opened: opened,
	}
	h.builder.Open(ctx, peers)
	h.wg.Go(func() {
		for {
			select {
			case o := <-opened:
				h.deliver(ctx, o, streams)
			case <-ctx.Done():
				return
			}
		}
	})
}

// deliver hands over a stream, or closes it if the context has ended.
func (h *host) deliver(ctx context.Context, o shmstream.Opened, streams chan<- meshjoin.Opened) {
	n := meshjoin.Opened{Peer: o.Peer, Err: o.Err, Final: o.Peer == h.rank || errors.Is(o.Err, transport.ErrMismatch)}
	if o.Err == nil {
		n.Data, n.Control = o.Stream, o.Control
	}
	select {
	case streams <- n:
	case <-ctx.Done():
		if o.Stream != nil {
			_ = o.Control.Close()
			o.Stream.Close()
		}
	}
}

func (h *host) withdraw(r transport.Rank) { h.builder.Withdraw(r) }

func (h *host) wait() {
	if h.builder != nil {
		h.builder.Wait()
	}
	h.wg.Wait()
	h.listen.Close()
}

func (h *host) alloc(n int) []byte { return h.arena.Alloc(n) }
func (h *host) free(b []byte) bool { return h.arena.Free(b) }

func (h *host) close() {
	h.listen.Close()
	h.arena.Close()
}
