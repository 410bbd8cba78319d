package launch

import (
	"errors"
	"fmt"
	"os"
)

// signalBase is what shells add to a signal's number for an exit code.
const signalBase = 128

// ExitError says which rank failed first and how.
type ExitError struct {
	// Rank is the rank that failed before all others.
	Rank int
	// Code is its exit code, or 128 plus the number of the signal that killed it.
	Code int
	// State is how the process ended, as the system says it.
	State string
}

// Error names the rank and how it ended.
func (e *ExitError) Error() string {
	return fmt.Sprintf("rank %d failed first: %s", e.Rank, e.State)
}

// ExitCode is the code a program should exit with after [Run] returned err: 0 for nil, the failing
// rank's own for an [*ExitError], otherwise 1.
func ExitCode(err error) int {
	var e *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.Code
	}
	return 1
}

// failureOf returns the failure of rank that state describes, or nil.
func failureOf(rank int, state *os.ProcessState) *ExitError {
	if state.Success() {
		return nil
	}
	code := state.ExitCode()
	if sig := killedBy(state); sig > 0 {
		code = signalBase + sig
	}
	return &ExitError{Rank: rank, Code: code, State: state.String()}
}
