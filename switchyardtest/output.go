package switchyardtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/transport"
)

// failureMark begins the line by which a process tells that its rank fails, before the others can
// fail for that reason.
const failureMark = "switchyardtest: failure"

// returnedMark ends the line by which a process tells that its rank has come to RunProcesses, and
// to its end.
const returnedMark = "switchyardtest: the rank has ended"

// announce writes that line: its time and the first line of the error.
func announce(err error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(os.Stderr, "%s %d %s\n", failureMark, time.Now().UnixNano(), text)
}

// output takes the lines of all processes, one call of Write each.
type output struct {
	to      io.Writer
	observe func(rank transport.Rank, line string) // or nil
	first   failure                                // that was announced
	ended   map[int]bool                           // ranks that have come to their end
}

// failure is one that was announced.
type failure struct {
	rank int
	at   int64 // nanoseconds since 1970; 0 is no failure
	text string
}

var (
	announced = regexp.MustCompile(`^\[ *(\d+)\] ` + failureMark + ` (\d+) (.*)\n$`)
	returned  = regexp.MustCompile(`^(\[ *(\d+)\] (?s:.*))` + returnedMark + `\n$`)
	written   = regexp.MustCompile(`^\[ *(\d+)\] (.*)\n$`)
	// progress are the lines by which a process tells how far it is with its tests: the test that
	// started it does.
	progress = regexp.MustCompile(`^\[ *\d+\] +(PASS\n|FAIL\n|=== |--- |coverage: |exit status )`)
)

// Write passes on a line of a rank that is of interest.
func (o *output) Write(line []byte) (int, error) {
	if m := announced.FindSubmatch(line); m != nil {
		o.note(string(m[1]), string(m[2]), string(m[3]))
		return len(line), nil
	}
	if progress.Match(line) {
		return len(line), nil
	}
	if m := returned.FindSubmatch(line); m != nil {
		return len(line), o.noteEnd(m[1], string(m[2]))
	}
	if m := written.FindSubmatch(line); m != nil && o.observe != nil {
		if rank, err := strconv.Atoi(string(m[1])); err == nil {
			o.observe(transport.Rank(rank), string(m[2]))
		}
	}
	return o.to.Write(line)
}

// noteEnd notes the end of a rank, which may have left a line without an end before.
func (o *output) noteEnd(line []byte, rank string) error {
	if r, err := strconv.Atoi(rank); err == nil {
		o.ended[r] = true
	}
	if bytes.HasSuffix(line, []byte("] ")) {
		return nil
	}
	_, err := o.Write(append(line, '\n'))
	return err
}

// missing is an error if one of n ranks has ended its process before it came to its end, but for
// those that may.
func (o *output) missing(n int, may func(rank int) bool) error {
	for r := range n {
		if !o.ended[r] && !may(r) {
			return fmt.Errorf("the process of rank %d has ended, without an error, before its rank has: it has skipped "+
				"the test, called os.Exit, or has no test of this name, which must be the same every time", r)
		}
	}
	return nil
}

func (o *output) note(rank, at, text string) {
	f := failure{text: text}
	var errRank, errAt error
	f.rank, errRank = strconv.Atoi(rank)
	f.at, errAt = strconv.ParseInt(at, 10, 64)
	if errRank == nil && errAt == nil && (o.first.at == 0 || f.at < o.first.at) {
		o.first = f
	}
}

// describe says what err, with which the job has ended, is about. The process that ended first may
// have failed because of another one, which has announced that; but one that was killed has not.
func (o *output) describe(err error) string {
	ended := new(launch.ExitError)
	if !errors.As(err, &ended) {
		return err.Error()
	}
	const testFailed = 1
	if o.first.at != 0 && ended.Code == testFailed {
		return fmt.Sprintf("rank %d failed first: %s; its output is in the lines that begin with [%[1]d]", o.first.rank, o.first.text)
	}
	return fmt.Sprintf("%v; its output is in the lines that begin with [%d]", err, ended.Rank)
}
