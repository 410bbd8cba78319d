// Package lsh is a command of bench: it measures what compression gains in speed and costs in loss.
package lsh

import (
	"context"
	"errors"
	"io"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/lsh/law"
)

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if law.Asked(args) {
		return law.Run(ctx, args, stdout, stderr)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "lsh", err)
	}
	var rows []row
	if o.inFiles != "" {
		rows, err = readAll(o.inFiles)
	} else {
		rows, err = o.measure(ctx, stderr)
	}
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows), drawSpeedups(o.svgFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}

// measure builds the program and measures with it.
func (o *options) measure(ctx context.Context, stderr io.Writer) (rows []row, err error) {
	t, err := harness.NewTrainer(ctx, "lsh")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Remove()) }()
	return o.measureWith(ctx, t.Program, t.Folder, stderr)
}

// measureWith trains for quality, then for speed at each rate, and returns what is known when it is
// done or cut off. It writes in the folder dir.
func (o *options) measureWith(ctx context.Context, program, dir string, stderr io.Writer) (rows []row, err error) {
	p := harness.NewPace(stderr, "lsh", o.turns(), o.expected())
	m := &measured{options: o}
	if !o.noQuality {
		digest, err := textDigest(o.text)
		if err != nil {
			return nil, err
		}
		t := &trainings{options: o, program: program, dir: dir, pace: p, digest: digest}
		if err := t.quality(ctx, m); err != nil {
			return m.rows(), err
		}
	}
	if !o.noSpeed {
		err = o.speed(ctx, program, dir, m, p)
	}
	return m.rows(), err
}
