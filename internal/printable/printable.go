// Package printable makes text from outside this process fit for errors and logs.
package printable

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// ellipsis ends a text that was cut.
const ellipsis = "…"

// Text returns s as one line of printable characters and at most limit bytes. Whatever is not
// printable (control characters, line breaks, marks that turn the direction of writing, bytes that
// are not UTF-8) becomes an escape as in a Go string, such as \n, \x1b or \u202e. A text that is
// too long is cut between characters, or between escapes, and ends in "…". Printable text within
// the limit is returned as it is, so applying Text again changes nothing.
func Text(s string, limit int) string {
	if len(s) <= limit && isPrintable(s) {
		return s
	}
	var b strings.Builder
	kept := 0 // bytes of b that leave room for the ellipsis
	for i, width := 0, 0; i < len(s); i += width {
		var r rune
		r, width = utf8.DecodeRuneInString(s[i:])
		piece := s[i : i+width]
		if !printableRune(r, width) {
			piece = escape(piece)
		}
		if b.Len()+len(piece) > limit {
			if limit < len(ellipsis) {
				return ""
			}
			return b.String()[:kept] + ellipsis
		}
		b.WriteString(piece)
		if b.Len() <= limit-len(ellipsis) {
			kept = b.Len()
		}
	}
	return b.String()
}

func isPrintable(s string) bool {
	for i, width := 0, 0; i < len(s); i += width {
		var r rune
		if r, width = utf8.DecodeRuneInString(s[i:]); !printableRune(r, width) {
			return false
		}
	}
	return true
}

// printableRune reports whether r, which takes width bytes, may stand as it is.
func printableRune(r rune, width int) bool {
	return strconv.IsPrint(r) && (r != utf8.RuneError || width > 1)
}

// escape returns one character, or one byte that is none, as it would stand in a Go string.
func escape(piece string) string {
	q := strconv.Quote(piece)
	return q[1 : len(q)-1]
}

// Error returns err with its message as Text has it. What err wraps is still found beneath it.
func Error(err error, limit int) error {
	if err == nil {
		return nil
	}
	if text := Text(err.Error(), limit); text != err.Error() {
		return &shown{err, text}
	}
	return err
}

type shown struct {
	error
	text string
}

func (e *shown) Error() string { return e.text }
func (e *shown) Unwrap() error { return e.error }
