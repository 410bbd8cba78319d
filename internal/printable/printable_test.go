package printable

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		limit          int
	}{
		{"plain", `rank 3: "tensor" \ 1 µs`, `rank 3: "tensor" \ 1 µs`, 100},
		{"line breaks", "a\nb\rc", `a\nb\rc`, 100},
		{"terminal", "\x1b[2Jgone\x07\x7f", `\x1b[2Jgone\a\x7f`, 100},
		{"direction", "abc\u202edef\u2028", `abc\u202edef\u2028`, 100},
		{"not UTF-8", "ok\xffno\xc3", `ok\xffno\xc3`, 100},
		{"the replacement character itself", "\ufffd", "\ufffd", 100},
		{"cut", "0123456789", "01234…", 8},
		{"cut between escapes", "ab\n\n\n\n", `ab\n…`, 8},
		{"cut between characters", "ääääää", "ää…", 8},
		{"as long as may be", "01234567", "01234567", 8},
		{"no room", "0123", "", 2},
		{"empty", "", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, Text(c.in, c.limit)) })
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\nb\x1b[0m\xff\u202e", 12)
	f.Add(strings.Repeat("ä", 100), 33)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(limit%4096, 0)
		got := Text(s, limit)
		require.LessOrEqual(t, len(got), limit)
		require.True(t, utf8.ValidString(got))
		require.True(t, isPrintable(got))
		require.Equal(t, got, Text(got, limit), "once is enough")
	})
}

func TestError(t *testing.T) {
	require.NoError(t, Error(nil, 10))
	require.Same(t, io.EOF, Error(io.EOF, 10))
	err := Error(fmt.Errorf("peer says\n%w", io.EOF), 100)
	require.EqualError(t, err, `peer says\nEOF`)
	require.ErrorIs(t, err, io.EOF)
}
