package main

import (
	"context"
	"log/slog"
	"sync"
)

// runFollower is a rank beside the front. What the front orders it computes, until the front ends
// the job. When this rank is asked to end it asks the front, which ends it for all.
func runFollower(ctx context.Context, o options, asked <-chan struct{}, log *slog.Logger) error {
	m, err := join(ctx, o, asked, log)
	if err != nil {
		if isAsked(asked) {
			return nil
		}
		return err
	}
	err = m.runFollower(ctx, o, asked)
	if closed := m.world.Close(); err == nil {
		err = closed
	}
	log.Info("ended", "rank", m.world.Rank(), "passes", m.passes, "err", err)
	return err
}

func (m *member) runFollower(ctx context.Context, o options, asked <-chan struct{}) error {
	asking, cancel := context.WithCancel(ctx)
	var helper sync.WaitGroup
	helper.Go(func() {
		select {
		case <-asked:
			_ = m.orders.askToEnd(asking) // if it fails, so does what follows
		case <-asking.Done():
		}
	})
	err := m.follow(ctx, o.passTimeout)
	cancel()
	helper.Wait()
	if err != nil {
		return err
	}
	return m.farewell(ctx, o.drainTimeout)
}
