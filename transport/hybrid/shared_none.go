package hybrid

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
)

// noMemory shares no memory.
type noMemory struct{}

func (noMemory) host() string { return "" }
func (noMemory) addr() string { return "" }
func (noMemory) open(context.Context, meshjoin.Meeting, map[transport.Rank]string, chan<- meshjoin.Opened) {
}
func (noMemory) withdraw(transport.Rank) {}
func (noMemory) wait()                   {}
func (noMemory) alloc(int) []byte        { return nil }
func (noMemory) free([]byte) bool        { return false }
func (noMemory) close()                  {}
