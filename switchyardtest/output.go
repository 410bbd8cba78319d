package switchyardtest

import (
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
}

// failure is one that was announced.
type failure struct {
	rank int
	at   int64 // nanoseconds since 1970; 0 is no failure
	text string
}

var (
	announced = regexp.MustCompile(`^\[ *(\d+)\] ` + failureMark + ` (\d+) (.*)\n$`)
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
	if m := written.FindSubmatch(line); m != nil && o.observe != nil {
		if rank, err := strconv.Atoi(string(m[1])); err == nil {
			o.observe(transport.Rank(rank), string(m[2]))
		}
	}
	return o.to.Write(line)
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
