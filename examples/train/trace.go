package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/outfile"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/trace"
	"github.com/switchyard-moe/switchyard/transport"
)

// traced is the passes of this rank's latest step.
type traced struct {
	mu    sync.Mutex // micro-batches in flight add to it at the same time
	lines []tracedLine
	over  bool // training is: what follows is not kept

	micro map[uint64]int // micro-batch of each pass of this step, by its number
}

// isOf says of which micro-batch a pass is. Passes of several layers have the same numbers.
func (t *traced) isOf(p *switchyard.Pass, micro int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.micro == nil {
		t.micro = map[uint64]int{}
	}
	t.micro[p.Number()] = micro
}

// tracedLine is one pass of one layer, as it is told to rank 0.
type tracedLine struct {
	Micro int // batch in flight
	Begin time.Time
	Tasks []schedule.Task
	Spans []schedule.Span
}

// observer returns what keeps the passes of one block's layer.
func (t *traced) observer(block int) func(schedule.Pass, schedule.Timeline) {
	return func(_ schedule.Pass, line schedule.Timeline) {
		tasks := append([]schedule.Task(nil), line.Graph.Tasks...)
		for i := range tasks {
			tasks[i].Layer = block
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.over {
			return
		}
		t.lines = append(t.lines, tracedLine{t.micro[line.Number], line.Begin, tasks, line.Spans})
	}
}

// traceLimit bounds what a rank tells of a step.
const traceLimit = 64 << 20

// writeTrace has rank 0 write all ranks' last step to a file, by its own clock.
func (t *trainer) writeTrace(ctx context.Context, path string) error {
	mine, err := json.Marshal(t.traced.lines)
	if err != nil {
		return err
	}
	all, err := t.world.Comm().AllGatherAny(ctx, mine, traceLimit)
	if err != nil {
		return err
	}
	ahead, err := clocksAhead(ctx, t.world)
	if err != nil || t.world.Rank() != 0 {
		return err
	}
	var tracks []trace.Track
	for r, text := range all {
		var lines []tracedLine
		if err := json.Unmarshal(text, &lines); err != nil {
			return fmt.Errorf("trace of rank %d: %w", r, err)
		}
		for _, l := range lines {
			tracks = append(tracks, trace.Track{Rank: r, Stream: l.Micro, Ahead: ahead[r],
				Line: schedule.Timeline{Graph: &schedule.Graph{Tasks: l.Tasks}, Begin: l.Begin, Spans: l.Spans}})
		}
	}
	return outfile.Write(path, func(w io.Writer) error { return trace.WriteJSON(w, tracks) })
}

// pings is how often rank 0 asks each other rank for its time.
const pings = 8

// clocksAhead returns, on rank 0, how far every rank's clock is ahead of its own.
func clocksAhead(ctx context.Context, world *switchyard.World) ([]time.Duration, error) {
	all := make([]transport.Rank, world.Size())
	for r := range all {
		all[r] = transport.Rank(r)
	}
	view, err := world.View(all)
	if err != nil {
		return nil, err
	}
	if view.Rank() != 0 {
		return nil, answerPings(ctx, view)
	}
	ahead := make([]time.Duration, len(all))
	for _, r := range all[1:] {
		var list []trace.Ping
		for range pings {
			p := trace.Ping{Sent: time.Now()}
			if err := view.Send(ctx, r, 0, []byte{0}); err != nil {
				return nil, err
			}
			text := make([]byte, 256)
			n, err := view.Recv(ctx, r, 0, text)
			if err != nil {
				return nil, err
			}
			p.Returned = time.Now()
			var answer [2]time.Time
			if err := json.Unmarshal(text[:n], &answer); err != nil {
				return nil, fmt.Errorf("clock of rank %d: %w", r, err)
			}
			p.Received, p.Answered = answer[0], answer[1]
			list = append(list, p)
		}
		if ahead[r], _, err = trace.ClockOffset(list); err != nil {
			return nil, fmt.Errorf("clock of rank %d: %w", r, err)
		}
	}
	return ahead, nil
}

// answerPings tells rank 0 the time as often as it asks.
func answerPings(ctx context.Context, view transport.Transport) error {
	for range pings {
		if _, err := view.Recv(ctx, 0, 0, make([]byte, 1)); err != nil {
			return err
		}
		received := time.Now()
		text, err := json.Marshal([2]time.Time{received, time.Now()})
		if err != nil {
			return err
		}
		if err := view.Send(ctx, 0, 0, text); err != nil {
			return err
		}
	}
	return nil
}
