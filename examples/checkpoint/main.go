// Checkpoint lists the checkpoints of a folder and compares every tensor with its checksum.
//
//	go run ./examples/checkpoint -tensors DIR
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/switchyard-moe/switchyard/checkpoint"
)

const usage = `Lists the checkpoints of a folder, reads all their tensors, and compares the checksums.

usage: go run ./examples/checkpoint [flags] DIR

DIR is the folder that a job saves into, or that of one checkpoint; a model in safetensors files of
other programs will do, but has no checksums. An incomplete checkpoint is what a job has left that
was ended while it saved: it is never loaded, and the next save removes it.

The exit code is 0 if all complete checkpoints are as they were saved, 1 if one is damaged or there
is none, and 2 if the command line makes no sense.

Flags:
`

// Exit codes.
const (
	damaged = 1
	misused = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process around it; it returns the exit code.
func run(args []string, out, problems io.Writer) int {
	flags := flag.NewFlagSet("checkpoint", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	tensors := flags.Bool("tensors", false, "print each tensor: name, type, shape, bytes, CRC-32C and file")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		flags.SetOutput(out)
		flags.PrintDefaults()
		return 0
	case err == nil && flags.NArg() != 1:
		err = fmt.Errorf("%d folders are named, want 1", flags.NArg())
	}
	if err != nil {
		fmt.Fprintf(problems, "checkpoint: %v\ncheckpoint: -h explains\n", err)
		return misused
	}
	if err := look(out, flags.Arg(0), *tensors); err != nil {
		fmt.Fprintln(problems, err)
		return damaged
	}
	return 0
}

// look prints a row for each checkpoint, and returns an error with all damage.
func look(out io.Writer, dir string, tensors bool) error {
	list, err := checkpoint.List(dir)
	if err != nil || len(list) == 0 { // not a folder of checkpoints: one itself, perhaps
		return verify(out, dir, tensors)
	}
	var faults []error
	complete := 0
	for _, c := range list {
		if !c.Complete {
			fmt.Fprintf(out, "%s: incomplete\n", c.Path)
			continue
		}
		complete++
		faults = append(faults, verify(out, c.Path, tensors))
	}
	if complete == 0 {
		return fmt.Errorf("checkpoint: %s: %w", dir, checkpoint.ErrNone)
	}
	return errors.Join(faults...)
}

// verify reads one checkpoint and prints what is in it.
func verify(out io.Writer, path string, tensors bool) error {
	report, err := checkpoint.Verify(path)
	if err != nil && len(report.Tensors) == 0 {
		return err
	}
	bytes, files := int64(0), map[string]bool{}
	for _, t := range report.Tensors {
		bytes += t.Bytes
		files[t.File] = true
	}
	fmt.Fprintf(out, "%s: step %d of %d ranks, %d tensors in %d files, %s, %s\n", path, report.Step, report.Ranks,
		len(report.Tensors), len(files), size(bytes), verdict(report, err))
	for _, file := range slices.Sorted(maps.Keys(report.Absent)) {
		fmt.Fprintf(out, "  %s is at %s\n", shown(file), shown(report.Absent[file]))
	}
	if tensors {
		list(out, report.Tensors)
	}
	return err
}

// verdict is what there is to say of a checkpoint.
func verdict(report checkpoint.Report, err error) string {
	switch {
	case err != nil:
		return "DAMAGED"
	case report.Ranks == 0:
		return "can be read; no checksums"
	case len(report.Absent) > 0:
		return "as it was saved, as far as it is here"
	}
	return "as it was saved"
}

// list prints a row for each tensor.
func list(out io.Writer, tensors []checkpoint.Tensor) {
	names, width := make([]string, len(tensors)), 0
	for i, t := range tensors {
		names[i] = shown(t.Name)
		width = max(width, utf8.RuneCountInString(names[i]))
	}
	for i, t := range tensors {
		shape := strings.ReplaceAll(fmt.Sprint(t.Shape), " ", "×")
		file := shown(t.File)
		fmt.Fprintf(out, "  %-*s  %-4s %-12s %12d B  %08x  %s\n", width, names[i], t.DType, shape, t.Bytes, t.Checksum, file)
	}
}

// shown is a name in a file, which any program may have written, as one line that a terminal can
// show.
func shown(name string) string {
	const longest = 4096
	if len(name) > longest {
		name = name[:longest] + "…"
	}
	quoted := strconv.Quote(name)
	return quoted[1 : len(quoted)-1]
}

// size is a number of bytes in decimal units.
func size(bytes int64) string {
	value, unit := float64(bytes), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, u
	}
	return fmt.Sprintf("%.3g %s", value, unit)
}
