// Package routers is a command of bench: it trains the example with each router.
package routers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

const usage = `usage: go run ./bench routers [flags]

Trains the model of examples/train with each of its routers, one after the other, on the same text with the same seed, and
prints what each one comes to on the held-out text, beside a bigram model of the same text.

Flags:
`

// options are the flags of routers.
type options struct {
	steps, ranks     int
	names            []string
	text             string
	jsonFile, mdFile string
	svgDir           string
	from             string
}

// Run is the command "routers".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "routers", err)
	}
	return harness.Conclude(ctx, o.trainAll(ctx, stdout, stderr), stderr)
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("routers", flag.ContinueOnError)
	f.IntVar(&o.steps, "steps", 400, "optimizer steps of each router")
	f.IntVar(&o.ranks, "ranks", 2, "ranks, as goroutines; only the speed depends on it")
	f.StringVar(&o.text, "text", "", "`file` to learn; default is the text in Go's source tree")
	outfile.Var(f, &o.jsonFile, "json", "", "write the outcome to this `file`, one JSON object a line")
	outfile.Var(f, &o.mdFile, "md", "", "write the table into this `file`, between the lines that mark its place")
	f.StringVar(&o.svgDir, "svg", "", "draw each router's load into a file in this `directory`")
	f.StringVar(&o.from, "from", "", "train nothing: take the outcomes in these `files`, which -json wrote, with commas between them")
	names := f.String("routers", "", "train only these, `names` with commas between them")
	err := harness.ParseFlags(f, usage, args, stdout)
	if *names != "" {
		o.names = strings.Split(*names, ",")
	}
	switch {
	case err != nil:
	case o.steps < 1 || o.ranks < 1:
		err = fmt.Errorf("-steps %d, -ranks %d: want at least 1", o.steps, o.ranks)
	default:
		if err = o.outputs(); err != nil {
			err = harness.Unwritable(err)
		}
	}
	return o, err
}

// outputs returns what keeps the files from being written that parseFlags does not know.
func (o *options) outputs() error {
	var faults []error
	if o.svgDir != "" {
		if err := outfile.Probe(o.loadFile()); err != nil {
			faults = append(faults, fmt.Errorf("-svg: %s: %w", o.svgDir, err))
		}
	}
	if o.mdFile != "" {
		if _, _, err := aroundTable(o.mdFile); err != nil {
			faults = append(faults, fmt.Errorf("-md: %w", err))
		}
	}
	return errors.Join(faults...)
}

// loadFile is where the picture goes.
func (o *options) loadFile() string { return filepath.Join(o.svgDir, "routers-load.svg") }

// trained is what one router came to: the fields of the program's result that the table shows.
type trained struct {
	Router          string  `json:"router"`
	Steps           int     `json:"steps"`
	Seed            uint64  `json:"seed"`
	ValLoss         float64 `json:"val_loss"`
	BigramValLoss   float64 `json:"bigram_val_loss"`
	DroppedTokens   int     `json:"dropped_tokens"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	LooksAhead      bool    `json:"looks_ahead"`
	ExpertLoad      [][]int `json:"expert_load"`
}

// trainAll trains with all routers and writes what was asked for. A router that fails is told of at
// the end.
func (o options) trainAll(ctx context.Context, stdout, progress io.Writer) (err error) {
	if o.from != "" {
		rows, err := readTrained(strings.Split(o.from, ","))
		writeTrained(stdout, rows)
		return errors.Join(err, o.save(rows))
	}
	t, err := harness.NewTrainer(ctx, "routers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Remove()) }()
	if o.names == nil {
		if o.names, err = of(ctx, t.Program); err != nil {
			return err
		}
	}
	var rows []trained
	var faults error
	p := harness.NewPace(progress, "routers", len(o.names), harness.Times(len(o.names)*o.steps, 120*time.Millisecond))
	for _, name := range o.names {
		if ctx.Err() != nil {
			faults = errors.Join(faults, context.Cause(ctx))
			break
		}
		p.Next("%s", name)
		r, err := o.train(ctx, t.Program, name, filepath.Join(t.Folder, "result.json"))
		if err != nil {
			faults = errors.Join(faults, fmt.Errorf("%s: %w", name, err))
			continue
		}
		fmt.Fprintf(progress, "bench: %s: held-out loss %.4f, the bigram's %.4f\n", name, r.ValLoss, r.BigramValLoss)
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return faults
	}
	writeTrained(stdout, rows)
	return errors.Join(faults, o.save(rows))
}

// train runs the program with one router.
func (o options) train(ctx context.Context, program, name, result string) (trained, error) {
	flags := append(harness.QuietFlags(), "-router", name, "-steps", fmt.Sprint(o.steps), "-ranks", fmt.Sprint(o.ranks), "-text", o.text, "-json", result)
	if _, err := harness.Output(ctx, program, flags...); err != nil {
		return trained{}, err
	}
	var r trained
	return r, harness.ReadJSON(result, &r)
}

// of asks the program for its routers: its help ends with a table of them.
func of(ctx context.Context, program string) ([]string, error) {
	help, err := harness.Output(ctx, program, "-h")
	if err != nil {
		return nil, err
	}
	_, table, ok := strings.Cut(help, "\nRouters, by how they take bytes:\n")
	if !ok {
		return nil, errors.New("examples/train -h lists no routers")
	}
	var names []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 0 {
			names = append(names, fields[0])
		}
	}
	return names, nil
}
