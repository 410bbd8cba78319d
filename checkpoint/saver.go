package checkpoint

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// ErrWrite is beneath the error of a save that has failed on all ranks, because one could not write
// its files: what was written is removed, and earlier checkpoints are as they were. Or the
// checkpoint is saved, as the error then says, but an older one could not be removed. Training and
// later saves can go on.
var ErrWrite = errors.New("a file could not be written or removed")

// errClosed: a method was called after Close.
var errClosed = errors.New("checkpoint: the saver is closed")

// Saver saves checkpoints of a job, one rank's share of each. Every rank makes one and calls Save
// at the same steps. Its methods are for one goroutine, but Err is for any.
type Saver struct {
	cfg    Config
	ranks  ranks
	create func(path string) (file, error) // os.Create, but in tests of full disks

	buffer  []byte        // the copy of the state, reused
	running chan struct{} // closed when the write in the background has ended; nil before the first
	flush   chan struct{} // closed by Close: the rest is written without a limit of the rate
	closed  bool
	broken  error // ranks can no longer speak to each other

	mu     sync.Mutex
	failed error // of the last write, until a call has returned it
}

// NewSaver makes this rank's saver. Every rank calls it, in the same order as it makes layers. It
// touches no file. Close it before the world.
func NewSaver(world *switchyard.World, cfg Config) (*Saver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r, err := newRanks(world)
	if err != nil {
		return nil, errtext.Errorf("checkpoint: NewSaver: %w", err)
	}
	cfg.Metadata = maps.Clone(cfg.Metadata)
	return &Saver{cfg: cfg, ranks: r, create: createFile, flush: make(chan struct{})}, nil
}

// Save saves the parts as they are after step. Every rank calls it between the same two steps, each
// with the parts that it holds; those tensors are written of which the entry's Writer is set.
//
// It waits until an earlier save is written, copies what this rank writes, and returns; the files
// are written while training goes on. The copy's memory is kept for the next save. With
// [Config.NoCopy] it returns when all is written. Until it returns, nothing else may use the state.
//
// The error is the same on all ranks. If it is [ErrWrite] then writing an earlier save has failed
// (with NoCopy, this one), and this save has begun all the same. Otherwise nothing is saved: the
// step is before that of a complete checkpoint in Dir, entries cannot be saved, or ranks gave other
// steps. If ctx ends while it waits for an earlier save, it can be called again; later, or when a
// rank has failed, the saver can only be closed.
func (s *Saver) Save(ctx context.Context, step int, parts ...Part) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	if s.broken != nil {
		s.take() // it is the same
		return s.broken
	}
	job, err := s.begin(ctx, step, parts)
	if err != nil {
		return err // that of an earlier save comes out of the next call
	}
	earlier := s.take()
	if s.cfg.NoCopy {
		s.finish(job.run(ctx))
		return errors.Join(earlier, s.take())
	}
	s.buffer = job.copyInto(s.buffer)
	done := make(chan struct{})
	s.running = done
	go func() {
		defer close(done)
		s.finish(job.run(context.Background()))
	}()
	return earlier
}

// finish keeps the error of a save.
func (s *Saver) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// take returns the error of the last write if no call has returned it yet.
func (s *Saver) take() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.failed
	s.failed = nil
	return err
}

// wait waits for the write in the background.
func (s *Saver) wait(ctx context.Context) error {
	if s.closed {
		return errClosed
	}
	if s.running == nil {
		return nil
	}
	select {
	case <-s.running:
		return nil
	default:
	}
	select {
	case <-s.running:
		return nil
	case <-ctx.Done():
		return errtext.Errorf("checkpoint: wait for the save before: %w", context.Cause(ctx))
	}
}

// Err returns the error of the last save, if it has ended with one and no other call has returned
// it. It does not wait.
func (s *Saver) Err() error { return s.take() }

// Wait waits until the last save is written, and returns its error if no other call has. If ctx
// ends first the save goes on.
func (s *Saver) Wait(ctx context.Context) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	return s.take()
}

// Close waits until the last save is written, without [Config.BytesPerSecond], and returns its
// error if no other call has. It frees the copy. It is idempotent.
func (s *Saver) Close() error {
	if s.closed {
		return nil
	}
	close(s.flush)
	err := s.Wait(context.Background())
	s.closed, s.buffer = true, nil
	return err
}
