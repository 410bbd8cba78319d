// Package balance is a command of bench: it compares planners that share out the experts of a
// layer.
package balance

import (
	"context"
	"errors"
	"io"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// Run is the command.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == rankArg {
		return runRank(ctx, args[1:], stdout, stderr)
	}
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "balance", err)
	}
	do := o.measure
	if o.planOnly {
		do = o.predict
	}
	rows, err := do(ctx, stderr)
	if len(rows) > 0 {
		o.writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}
