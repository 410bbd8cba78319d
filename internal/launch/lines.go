package launch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// maxLine is the longest line that is kept whole, which bounds the memory for a rank that never
// ends a line.
const maxLine = 64 << 10

// colours are ANSI foregrounds that can be read on black and on white.
var colours = [...]int{36, 33, 35, 32, 34, 31}

// lines writes the output of several ranks to writers they share, a whole line at a time.
type lines struct {
	mu     sync.Mutex
	prefix bool
	colour bool
	width  int
}

func newLines(cfg Config) *lines {
	return &lines{prefix: cfg.Prefix, colour: cfg.Colour, width: len(strconv.Itoa(cfg.Ranks - 1))}
}

// copy moves the lines of r to w until r ends. A last line without an end is given one, and a line
// longer than maxLine is cut. It goes on reading when w fails, since the rank would block on a full
// pipe otherwise.
func (l *lines) copy(w io.Writer, r io.Reader, rank int) {
	in := bufio.NewReaderSize(r, maxLine)
	prefix := l.prefixOf(rank)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			l.write(w, prefix, line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// write writes a line in one Write, so that other processes that write to the same file do not
// split it.
func (l *lines) write(w io.Writer, prefix string, line []byte) {
	whole := make([]byte, 0, len(prefix)+len(line)+1)
	whole = append(append(whole, prefix...), line...)
	if whole[len(whole)-1] != '\n' {
		whole = append(whole, '\n')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = w.Write(whole)
}

func (l *lines) prefixOf(rank int) string {
	if !l.prefix {
		return ""
	}
	label := fmt.Sprintf("[%*d]", l.width, rank)
	if !l.colour {
		return label + " "
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m ", colours[rank%len(colours)], label)
}
