package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// parseFlags parses a command's arguments, which are flags only. Where they ask for help it prints usage and the flags to stdout, and returns
// flag.ErrHelp.
func parseFlags(f *flag.FlagSet, usage string, args []string, stdout io.Writer) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
	case err == nil && f.NArg() > 0:
		err = fmt.Errorf("%q: %s takes flags only", f.Arg(0), f.Name())
	}
	return err
}

// limits collects what is wrong with numbers that flags have set.
type limits struct{ faults []error }

// within notes a value that is out of its range.
func (l *limits) within(name string, value, low, high int) {
	if value < low || value > high {
		l.faults = append(l.faults, fmt.Errorf("-%s %d: want %d to %d", name, value, low, high))
	}
}
