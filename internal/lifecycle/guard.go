// Package lifecycle says which methods of a layer may be called when: not while another goroutine
// is in one, not out of turn, and none after the layer has failed.
//
// The passes of a layer have lifecycles of their own ([Pass]). A method that concerns the
// parameters needs all of them idle, and if one fails the layer has failed.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
)

// ErrInUse is beneath the error of a call that was made while another goroutine was in a method of
// the same layer.
var ErrInUse = errors.New("in use by another goroutine")

// Config describes one layer to its guard.
type Config struct {
	// Rank is this rank's number, which errors name.
	Rank transport.Rank
	// Begin notes that an operation of the layer begins. What it returns is called with the error
	// of the operation, and returns that error or a better one.
	Begin func(op string) (end func(error) error)
	// Passes notes what becomes of passes that the program holds; nil if there are none.
	Passes PassLog
	// Ended is told the error that has ended the layer, once.
	Ended func(cause error)
	// Name is what errors call it, if not a layer, and Sums the method that leaves gradients for a
	// step, if it is not Backward.
	Name, Sums string
}

// PassLog notes what becomes of passes, by their numbers.
type PassLog interface {
	// Made notes that the program holds a pass, and Over that it has ended.
	Made(number uint64)
	Over(number uint64)
	// Begin is Config.Begin of an operation of a pass.
	Begin(number uint64, op string) (end func(error) error)
}

// Guard is the lifecycle of one layer. Its methods may be called by any goroutine. A nil Guard
// permits nothing.
type Guard struct {
	cfg Config

	mu      sync.Mutex
	failure *failure // why every call fails from now on
	running string   // the method that the layer is in, if it is in one
	whole   bool     // that method concerns the parameters
	open    []*Pass  // in flight, in the order of their numbers
	last    uint64   // number of a pass
	passes  int      // that have gone back since the last step
}

// New returns the guard of a new layer.
func New(cfg Config) *Guard { return &Guard{cfg: cfg} }

// Enter begins a method of the layer. An error says why it cannot begin: the context has ended, the
// layer is in use, or it has failed. Passes may be in methods of their own. Without an error the
// caller must call Leave.
func (g *Guard) Enter(ctx context.Context, op string) error { return g.enter(ctx, op, false) }

// EnterAll is Enter of a method that concerns the parameters: no pass may be in a method either.
func (g *Guard) EnterAll(ctx context.Context, op string) error { return g.enter(ctx, op, true) }

func (g *Guard) enter(ctx context.Context, op string, whole bool) error {
	if g == nil {
		return fmt.Errorf("switchyard: %s: the layer was not made by NewLayer", op)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.mayEnter(ctx, op, func() string { return g.inUse(whole) }); err != nil {
		return err
	}
	g.running, g.whole = op, whole
	return nil
}

// inUse says which method the layer is in, of a pass too if whole; "" if in none.
func (g *Guard) inUse(whole bool) string {
	if g.running != "" {
		return "the layer is in " + g.running
	}
	for _, p := range g.open {
		if whole && p.running != "" {
			return fmt.Sprintf("%v is in %s", p, p.running)
		}
	}
	return ""
}

// mayEnter returns why a method cannot begin. inUse says what is in the way.
func (g *Guard) mayEnter(ctx context.Context, op string, inUse func() string) error {
	if ctx == nil {
		return g.Misuse(op, "the context is nil")
	}
	if f := g.failure; f != nil {
		return f.again(op)
	}
	if in := inUse(); in != "" {
		return g.Misuse(op, "%w: %s", ErrInUse, in)
	}
	if err := ctx.Err(); err != nil {
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return g.Misuse(op, "nothing was done, as the context had ended: %w", err)
	}
	return nil
}

// Leave ends what Enter or EnterAll began.
func (g *Guard) Leave() { g.note(func() { g.running, g.whole = "", false }) }

// Misuse is the error of a call that has done nothing, by this rank's fault.
func (g *Guard) Misuse(op, format string, args ...any) error {
	return &transport.Error{Rank: g.cfg.Rank, Op: op, Err: fmt.Errorf(format, args...)}
}
