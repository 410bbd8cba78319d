//go:build linux && !purego

package shmstream

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/transport/internal/arena"
)

// Arena is memory of one rank that its peers can read in place.
type Arena struct {
	*arena.Arena
	fd    int
	close sync.Once
}

// NewArena reserves size bytes, rounded up to whole pages. They take memory only once they are
// used, and keep it until Close.
func NewArena(size int) (*Arena, error) {
	fd, memory, err := create(arena.RoundUp(size), arenaSeals)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(memory, unix.MADV_HUGEPAGE) // where the system lets it
	return &Arena{Arena: arena.Over(memory), fd: fd}, nil
}

// Close frees the arena. Where something of it is still in use, the memory stays until the process
// ends.
func (a *Arena) Close() {
	a.close.Do(func() {
		closeAll(a.fd)
		if memory, unused := a.Arena.Close(); unused {
			_ = unix.Munmap(memory)
		}
	})
}
