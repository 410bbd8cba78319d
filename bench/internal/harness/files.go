package harness

import (
	"errors"
	"flag"
	"fmt"
	"io"
)

// Files returns the arguments of a command that reads files and has no flags, one at least. If the
// command is to end at once it returns none, and the exit code: after help, or for a wrong command
// line.
func Files(name, usage string, args []string, stdout, stderr io.Writer) (files []string, code int) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return nil, 0
	case err != nil || flags.NArg() == 0:
		fmt.Fprint(stderr, usage)
		return nil, Misused
	}
	return flags.Args(), 0
}
