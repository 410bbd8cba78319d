package routers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

// save writes the files that were asked for.
func (o options) save(rows []trained) error {
	var faults error
	faults = errors.Join(faults, harness.WriteJSONLines(o.jsonFile, rows))
	if o.mdFile != "" && len(rows) > 0 {
		faults = errors.Join(faults, insertTable(o.mdFile, rows))
	}
	if o.svgDir != "" && len(rows) > 0 {
		faults = errors.Join(faults, drawLoads(o.loadFile(), rows))
	}
	return faults
}

// readTrained reads what save wrote. The files must be of one text, seed and number of steps.
func readTrained(files []string) ([]trained, error) {
	var rows []trained
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for decoder := json.NewDecoder(bytes.NewReader(data)); decoder.More(); {
			var r trained
			if err := decoder.Decode(&r); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			rows = append(rows, r)
			if first := rows[0]; r.Steps != first.Steps || r.Seed != first.Seed || r.BigramValLoss != first.BigramValLoss {
				return nil, fmt.Errorf("%s: %s was trained otherwise than %s", file, r.Router, first.Router)
			}
		}
	}
	return rows, nil
}

// unevenness is the largest load over the mean, in the layer where that is worst; 1 is even.
func (r trained) unevenness() float64 {
	worst := 0.0
	for _, layer := range r.ExpertLoad {
		total := 0
		for _, n := range layer {
			total += n
		}
		if total > 0 {
			worst = max(worst, float64(slices.Max(layer))*float64(len(layer))/float64(total))
		}
	}
	return worst
}

// writeTrained writes rows as a table in Markdown, which reads well enough on a terminal.
func writeTrained(w io.Writer, rows []trained) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "| %-19s | held-out loss | below the bigram's %.4f | dropped in training | max / mean load | tokens/s |\n", "router", rows[0].BigramValLoss)
	fmt.Fprintf(w, "|:%s|--------------:|------------------------:|--------------------:|----------------:|---------:|\n", strings.Repeat("-", 20))
	for _, r := range rows {
		name := r.Router
		if r.LooksAhead {
			name += " ¹"
		}
		fmt.Fprintf(w, "| %-19s | %13.4f | %23.4f | %19d | %15.2f | %8.0f |\n",
			name, r.ValLoss, r.BigramValLoss-r.ValLoss, r.DroppedTokens, r.unevenness(), r.TokensPerSecond)
	}
}

// The lines between which a file has its table.
const (
	tableBegin = "<!-- bench routers: begin -->\n"
	tableEnd   = "<!-- bench routers: end -->\n"
)

// aroundTable returns what stands in a file before and after the two lines.
func aroundTable(path string) (before, after string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	before, rest, begins := strings.Cut(string(data), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return "", "", fmt.Errorf("%s has no lines %q and %q", path, strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	return before, after, nil
}

// insertTable replaces what stands in a file between the two lines.
func insertTable(path string, rows []trained) error {
	before, after, err := aroundTable(path)
	if err != nil {
		return err
	}
	var table strings.Builder
	writeTrained(&table, rows)
	text := before + tableBegin + "\n" + table.String() +
		fmt.Sprintf("\n%d steps each, seed %d, losses in nats per byte; speeds are of the machine that made the table, with whatever else it did.\n¹ Its choices look at later bytes, in evaluation too: its loss is not one of prediction, and compares with no other here.\n\n", rows[0].Steps, rows[0].Seed) + tableEnd + after
	return outfile.WriteBytes(path, []byte(text))
}
