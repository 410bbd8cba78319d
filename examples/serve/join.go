package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// join meets the other ranks and makes the layer. It gives up when this rank is asked to end.
func join(ctx context.Context, o options, asked <-chan struct{}, log *slog.Logger) (*member, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-asked:
			cancel()
		case <-ctx.Done():
		}
	}()
	world, err := switchyard.Join(ctx, switchyard.JoinConfig{
		Settings: o.settings(), Security: secure.Config{SecretFile: o.secretFile},
		OpTimeout: transport.NoTimeout, // a server is idle between requests
		DeadAfter: o.deadAfter, Log: log,
	})
	if err != nil {
		return nil, err
	}
	m, err := newMember(ctx, world, o.model)
	if err != nil {
		_ = world.Close() // the error that led here says more
		return nil, err
	}
	log.Info("joined", "rank", world.Rank(), "ranks", world.Size(), "pid", os.Getpid(), "source", world.Source())
	return m, nil
}

// isAsked reports whether this rank has been asked to end.
func isAsked(asked <-chan struct{}) bool {
	select {
	case <-asked:
		return true
	default:
		return false
	}
}
