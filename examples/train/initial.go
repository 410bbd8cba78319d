package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
)

// initialise takes the parameters of the latest checkpoint of -init, if that is given, and nothing
// else: the optimizer, the schedule and the steps begin anew. Any number of ranks may have saved
// it.
func (j *job) initialise(ctx context.Context) error {
	dir := j.options.init
	if dir == "" {
		return nil
	}
	parts, err := j.parts()
	if err != nil {
		return err
	}
	parts = parts[:len(parts)-1] // without the progress of the job
	for i, p := range parts {
		parts[i].State = parametersOf(p.State)
	}
	info, err := checkpoint.Load(ctx, j.world, dir, checkpoint.Options{
		Local:      j.options.saveLocal,
		AllowExtra: []string{"optimizer.*", "block*.moe.optimizer.*", "block*.moe.counters.*", "block*.moe.compression.*", "progress.*"},
	}, parts...)
	if err != nil {
		return fmt.Errorf("-init %s: %w", dir, err)
	}
	fmt.Fprintf(j.out, "parameters: those after step %d in %s, saved by %d ranks\n\n", info.Step, info.Path, info.Ranks)
	return nil
}

// parametersOf is a state without what is needed only to go on training, and without gains of
// compression, which are of one way to compress.
func parametersOf(s *param.State) *param.State {
	only := &param.State{Current: s.Current, Loaded: s.Loaded}
	for _, e := range s.Entries {
		if e.Role == param.Parameter && !strings.HasPrefix(e.Name, "compression.") {
			only.Entries = append(only.Entries, e)
		}
	}
	return only
}
