package striped

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/launch"
)

// trialLimit bounds one run, from the start of its processes.
const trialLimit = 2 * time.Minute

// trial runs the two ranks once, with a fault on a link after a quarter of the rounds.
func (o *options) trial(ctx context.Context, links *links, fault string, parity int) (stripedRow, error) {
	if err := links.heal(ctx); err != nil {
		return stripedRow{}, err
	}
	command, err := links.command(rankArg, "-links", fmt.Sprint(o.links), "-parity", fmt.Sprint(parity),
		"-bytes", fmt.Sprint(o.bytes), "-rounds", fmt.Sprint(o.rounds))
	if err != nil {
		return stripedRow{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	victim := o.links - parity - 1
	w := &watcher{inject: func() error { return links.inject(ctx, victim, fault) }}
	var complaints bytes.Buffer
	err = launch.Run(ctx, launch.Config{Ranks: 2, Command: command, Stdout: w, Stderr: &complaints})
	w.wg.Wait()
	if err = errors.Join(err, w.err, w.broken); err != nil {
		return stripedRow{}, fmt.Errorf("%w\n%s", err, complaints.Bytes())
	}
	return o.row(fault, parity, w.reports)
}

// row makes one row of what the two ranks have reported.
func (o *options) row(fault string, parity int, reports []stripedReport) (stripedRow, error) {
	if len(reports) != 2 {
		return stripedRow{}, fmt.Errorf("%d ranks have reported, want 2", len(reports))
	}
	row := stripedRow{
		Who: harness.Name, Version: harness.Version(), Fault: fault, Links: o.links, Parity: parity,
		Bytes: o.bytes, Rate: o.rate,
	}
	for _, r := range reports {
		row.Wrong += r.Wrong
		if r.Rank == 0 && r.Error == "" {
			row.Rounds = len(r.Took)
			took := slices.Sorted(slices.Values(r.Took))
			row.P50, row.P99 = harness.Microseconds(harness.Percentile(took, 0.50)), harness.Microseconds(harness.Percentile(took, 0.99))
		}
		if row.Error == "" {
			row.Error = r.Error
		}
	}
	return row, nil
}

// stripedReport is what a rank says at its end.
type stripedReport struct {
	Rank  int
	Took  []time.Duration
	Wrong int
	Error string
}

// faultWord is the line by which a rank asks for the fault.
const faultWord = "now"

// watcher reads the ranks' lines: the one that asks for the fault, and the reports.
type watcher struct {
	inject func() error

	reports []stripedReport
	err     error // of a report
	wg      sync.WaitGroup
	broken  error // of inject, once wg is done
}

// Write takes one line; the ranks' lines come one at a time.
func (w *watcher) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	if string(text) == faultWord {
		w.wg.Go(func() { w.broken = w.inject() })
		return len(line), nil
	}
	var r stripedReport
	if err := json.Unmarshal(text, &r); err != nil {
		w.err = errors.Join(w.err, fmt.Errorf("a rank says %q: %w", text, err))
		return len(line), nil
	}
	w.reports = append(w.reports, r)
	return len(line), nil
}

// verdict returns what of rows is a failure.
func verdict(rows []stripedRow) error {
	var faults []error
	for _, r := range rows {
		if r.Wrong > 0 {
			faults = append(faults, fmt.Errorf("%s, parity %d: %d wrong bytes", r.Fault, r.Parity, r.Wrong))
		}
		if r.Error != "" && (r.Parity > 0 || r.Fault != faultDown) {
			faults = append(faults, fmt.Errorf("%s, parity %d: %s", r.Fault, r.Parity, r.Error))
		}
	}
	return errors.Join(faults...)
}

// selfInNamespaces is the command of this program as a rank in the namespace of its number, prefix
// followed by it.
func selfInNamespaces(prefix string, args ...string) ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return append([]string{"sh", "-c", `exec ip netns exec "$0$RANK" "$@"`, prefix, exe, "striped"}, args...), nil
}
