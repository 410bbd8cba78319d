package hybrid

import (
	"context"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
)

// nothing shares no memory.
type nothing struct{}

func (nothing) host() string { return "" }
func (nothing) door() string { return "" }
func (nothing) open(context.Context, meshjoin.Meeting, map[transport.Rank]string, chan<- meshjoin.Opened) {
}
func (nothing) forsake(transport.Rank) {}
func (nothing) wait()                  {}
func (nothing) alloc(int) []byte       { return nil }
func (nothing) free([]byte) bool       { return false }
func (nothing) close()                 {}
