package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/switchyard-moe/switchyard/internal/interrupt"
)

// pace tells on standard error how long a command is going to take: at its start, by what it takes on two cores, and then
// by what its turns so far have taken.
type pace struct {
	to          io.Writer
	turns, done int
	expected    time.Duration
	start       time.Time
}

// newPace says how long a command of so many turns takes, unless it is done at once.
func newPace(to io.Writer, command string, turns int, expected time.Duration) *pace {
	if atOnce := 50 * time.Millisecond; expected >= atOnce {
		fmt.Fprintf(to, "bench: %s takes %s; if stopped, it prints what it has measured\n", command, roughly(expected))
	}
	return &pace{to: to, turns: turns, expected: expected, start: time.Now()}
}

// next says which turn begins.
func (p *pace) next(format string, args ...any) {
	left := p.expected
	if p.done > 0 {
		left = time.Since(p.start) / time.Duration(p.done) * time.Duration(max(p.turns-p.done, 0))
	}
	p.done++
	fmt.Fprintf(p.to, "bench: %s; %s left\n", fmt.Sprintf(format, args...), roughly(left))
}

// roughly is a time in words, to one or two digits.
func roughly(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "a few seconds"
	case d < 100*time.Second:
		return fmt.Sprintf("about %d seconds", (d+5*time.Second)/(10*time.Second)*10)
	case d < 100*time.Minute:
		return fmt.Sprintf("about %d minutes", max((d+time.Minute/2)/time.Minute, 2))
	}
	return fmt.Sprintf("about %.1f hours", d.Hours())
}

// manyTimes is n times d.
func manyTimes(n int, d time.Duration) time.Duration { return time.Duration(n) * d }

// conclude prints what went wrong, if anything did, and returns the exit code. That a signal has ended the command is
// told once, by run.
func conclude(ctx context.Context, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	if _, over := interrupt.Of(ctx); !over {
		fmt.Fprintf(stderr, "bench: %v\n", err)
	}
	return failed
}

// misuse prints what is wrong with a command's arguments and returns the exit code.
func misuse(stderr io.Writer, command string, err error) int {
	if errors.As(err, new(unwritable)) {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return failed
	}
	fmt.Fprintf(stderr, "bench: %v\nbench: %s -h explains\n", err, command)
	return misused
}

// untilOver passes on what ranks say until ctx is over: then the ranks are ended, and say so, each in its own way.
type untilOver struct {
	ctx context.Context
	to  io.Writer
}

func (u untilOver) Write(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return len(p), nil
	}
	return u.to.Write(p)
}
