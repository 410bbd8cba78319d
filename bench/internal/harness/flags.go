package harness

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/figure"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

// ParseFlags parses a command's arguments, which are flags only, and tries the files that are to be
// written. Where they ask for help it prints usage and the flags to stdout, and returns
// flag.ErrHelp.
func ParseFlags(f *flag.FlagSet, usage string, args []string, stdout io.Writer) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
	case err == nil && f.NArg() > 0:
		err = fmt.Errorf("%q: %s takes flags only", f.Arg(0), f.Name())
	case err == nil:
		if err = outputs(f); err != nil {
			err = Unwritable(err)
		}
	}
	return err
}

// unwritable is the fault of a command line that makes sense, but names a file that cannot be
// written.
type unwritable struct{ error }

// Unwritable marks err as that of a file that cannot be written: NotRun then returns Failed.
func Unwritable(err error) error { return unwritable{err} }

// outputs returns what keeps the files that flags name from being written, so that it is known
// before the long work.
func outputs(f *flag.FlagSet) error {
	g := f.Lookup("svg")
	if g == nil || g.Value.String() == "" || f.Name() == "routers" { // which takes a directory
		return outfile.Check(f)
	}
	err := figure.Format(g.Value.String())
	if err != nil {
		err = fmt.Errorf("-svg %s: %w", g.Value, err)
	}
	return errors.Join(outfile.Check(f), err)
}

// Limits collects what is wrong with numbers that flags have set.
type Limits struct{ Faults []error }

// Within notes a value that is out of its range.
func (l *Limits) Within(name string, value, low, high int) {
	if value < low || value > high {
		l.Faults = append(l.Faults, fmt.Errorf("-%s %d: want %d to %d", name, value, low, high))
	}
}

// Rates reads the Mbit/s of links, 1 to most, from a list with commas, and notes what is none.
func (l *Limits) Rates(text string, most int) (list []int) {
	for _, field := range strings.Split(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 || n > most {
			l.Faults = append(l.Faults, fmt.Errorf("-rates %q: want 1 to %d", field, most))
		}
		list = append(list, n)
	}
	return list
}

// WriteJSONLines writes an object a line to the named file, if there is a name.
func WriteJSONLines[T any](name string, rows []T) error {
	if name == "" {
		return nil
	}
	return outfile.Write(name, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		for _, r := range rows {
			if err := e.Encode(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// MaxRankBytes bounds what one rank holds to send, and as much again to receive.
const MaxRankBytes = min(4<<30, math.MaxInt)

// Names splits list, each of which must be one of known, and be named once.
func Names(flag, list string, known []string, faults *[]error) []string {
	all := strings.Split(list, ",")
	for i, name := range all {
		if !slices.Contains(known, name) {
			*faults = append(*faults, fmt.Errorf("%s %q: want one or more of %s", flag, name, strings.Join(known, ",")))
		} else if slices.Contains(all[:i], name) {
			*faults = append(*faults, fmt.Errorf("%s: %q is named twice", flag, name))
		}
	}
	return all
}
