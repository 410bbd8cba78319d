package launch

import (
	"context"
	"crypto/rand"
	"errors"
)

// try is what tells one try of a job from another.
type try struct {
	id            string // of the job, the same in all tries
	restart, most int
	port          int // MASTER_PORT
}

// Run starts cfg.Ranks processes and returns when all have ended and their output is written: nil
// if every one exited with 0, otherwise an [*ExitError] about the one that failed first; the
// others were ended. When ctx ends, all ranks are ended and the error is also that of ctx.
//
// A rank's whole process group is ended, with the children of the rank unless they left the group.
// A child that still holds the output open after the end of its rank is killed after the grace.
//
// After a failure all ranks are started again, up to cfg.Restarts times, as torchrun does: under
// the same TORCHELASTIC_RUN_ID, with a TORCHELASTIC_RESTART_COUNT one higher, and at another port
// unless cfg sets it. After a signal that asks to stop, a failure that is cfg.Final, or when ctx
// has ended, they are not.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	t := try{id: rand.Text(), most: cfg.Restarts}
	for {
		stopped, err := t.run(ctx, cfg)
		failed := new(ExitError)
		if stopped || ctx.Err() != nil || t.restart == cfg.Restarts || !errors.As(err, &failed) {
			return err
		}
		if cfg.Final != nil && cfg.Final(failed) {
			return err
		}
		t.restart++
		if cfg.OnRestart != nil {
			cfg.OnRestart(t.restart, failed)
		}
	}
}

// run runs one try, and tells whether the job was asked to stop.
func (t *try) run(ctx context.Context, cfg Config) (stopped bool, err error) {
	t.port = cfg.MasterPort
	if t.port == 0 {
		if t.port, err = freePortPair(); err != nil {
			return false, err
		}
	}
	j := &job{cfg: cfg, try: *t, out: newLines(cfg)}
	if err := j.start(); err != nil {
		return false, err
	}
	err = j.wait(ctx)
	return j.stops > 0, err
}
