package switchyardtest

import (
	"context"
	"testing"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// opening connects one rank to the others.
type opening func(ctx context.Context) (*switchyard.World, error)

// openInProcess returns the openings of n ranks that share the memory of this process.
func (c Config) openInProcess(n int) []opening {
	list := make([]opening, n)
	for r, end := range inproc.New(n) {
		list[r] = func(context.Context) (*switchyard.World, error) { return switchyard.NewWorld(c.wrap(end)), nil }
	}
	return list
}

func (c Config) wrap(t transport.Transport) transport.Transport {
	if c.Wrap == nil {
		return t
	}
	return c.Wrap(t)
}

// Worlds returns the worlds of n ranks that share the memory of this process, for tests that drive
// them by hand. They are closed at the end of the test.
func Worlds(t testing.TB, n int) []*switchyard.World {
	t.Helper()
	if n < 1 {
		t.Fatalf("switchyardtest: Worlds of %d ranks, want at least 1", n)
	}
	worlds := make([]*switchyard.World, n)
	for r, end := range inproc.New(n) {
		worlds[r] = switchyard.NewWorld(end)
	}
	t.Cleanup(func() { closeAll(worlds) })
	return worlds
}
