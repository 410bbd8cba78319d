package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// screen is where rank 0 prints.
type screen struct {
	out    io.Writer
	bar    bool // draw a bar, else print lines
	silent bool // show no progress at all
	// relayed: out is a pipe to the process that has the terminal, and passes whole lines on. See
	// relay.
	relayed bool
}

// newScreen decides how progress is shown on out.
func newScreen(out io.Writer, wish string) screen {
	s := screen{out: out, silent: wish == progressNone}
	terminal := isTerminal(out)
	s.bar = wish == progressBar || wish == progressAuto && terminal
	s.relayed = s.bar && !terminal
	return s
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// overwrite goes back to the start of the line, and erase clears it to its end.
const overwrite, erase = "\r", "\x1b[K"

// draw writes a line over the last one.
func (s screen) draw(text string) {
	if s.relayed {
		fmt.Fprintf(s.out, "%s%s\n", overwrite, text)
		return
	}
	fmt.Fprintf(s.out, "%s%s%s", overwrite, fit(text, s.out), erase)
}

// keep moves below what was last drawn.
func (s screen) keep() { fmt.Fprintln(s.out) }

// fit cuts a line to the width of the terminal, so that it can be drawn over.
func fit(text string, out io.Writer) string {
	f, ok := out.(*os.File)
	if !ok {
		return text
	}
	width, _, err := term.GetSize(int(f.Fd()))
	// A width of 0 is not known.
	if runes := []rune(text); err == nil && width > 0 && len(runes) >= width {
		return string(runes[:width-1])
	}
	return text
}
