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
	o, err := parseOptions(args, stdout)
	if err != nil {
		return harness.NotRun(stderr, "balance", err)
	}
	rows, err := o.predict(ctx, stderr)
	if len(rows) > 0 {
		writeTable(stdout, rows)
		err = errors.Join(err, harness.WriteJSONLines(o.jsonFile, rows))
	}
	return harness.Conclude(ctx, err, stderr)
}
