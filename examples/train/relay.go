package main

import (
	"fmt"
	"io"
	"strings"
)

// relay passes the ranks' output on to a terminal. A line that begins with overwrite is rank 0's
// bar, which is drawn over the last one; any other line goes below it. Standard output and error
// share drawn.
type relay struct {
	to    io.Writer
	drawn *bool
}

// Write takes whole lines, and one call at a time.
func (r relay) Write(lines []byte) (int, error) {
	text := string(lines)
	bar := strings.HasPrefix(text, overwrite)
	switch {
	case bar:
		text = overwrite + fit(strings.Trim(text, overwrite+"\n"), r.to) + erase
	case *r.drawn && text != "\n":
		text = "\n" + text
	}
	*r.drawn = bar
	if _, err := io.WriteString(r.to, text); err != nil {
		return 0, fmt.Errorf("output: %w", err)
	}
	return len(lines), nil
}
