// Package errtext shortens the text of errors that wrap one another: each begins with the name of
// its package, which one text needs once.
package errtext

import (
	"fmt"
	"strings"
)

// prefixes are the names of packages with which errors of this module begin.
const prefixes = " alltoall arena autotune balance checkpoint collective dispatch expert faulty grpc hybrid inproc launch lsh models mpi param rendezvous router safetensors schedule secure shaped shm simulate stream striped switchyard switchyardtest tcp trace transport "

// Errorf is fmt.Errorf for a format that begins with the name of the package, "router: …", where an
// error that it wraps may do so too.
func Errorf(format string, args ...any) error { return &once{fmt.Errorf(format, args...)} }

// once is an error whose text has each prefix once.
type once struct{ error }

// Error is the text of the error in it, with each prefix once.
func (o *once) Error() string { return Once(o.error.Error()) }

// Unwrap returns the error as fmt.Errorf made it.
func (o *once) Unwrap() error { return o.error }

// Once returns text without the names of packages, each followed by a colon, that stand before in
// the same line.
func Once(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = onceInLine(line)
	}
	return strings.Join(lines, "\n")
}

func onceInLine(line string) string {
	parts := strings.Split(line, ": ")
	kept, seen := parts[:0:0], map[string]bool{}
	for i, part := range parts {
		if i < len(parts)-1 && isPrefix(part) {
			if seen[part] {
				continue
			}
			seen[part] = true
		}
		kept = append(kept, part)
	}
	if len(kept) == len(parts) {
		return line
	}
	return strings.Join(kept, ": ")
}

func isPrefix(word string) bool {
	return word != "" && !strings.Contains(word, " ") && strings.Contains(prefixes, " "+word+" ")
}
