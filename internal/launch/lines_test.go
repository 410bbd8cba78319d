package launch

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrefixes(t *testing.T) {
	require.Equal(t, "", newLines(Config{Ranks: 4}).prefixOf(2))
	require.Equal(t, "[2] ", newLines(Config{Ranks: 4, Prefix: true}).prefixOf(2))
	require.Equal(t, "[ 2] ", newLines(Config{Ranks: 11, Prefix: true}).prefixOf(2))
	require.Equal(t, "\x1b[35m[2]\x1b[0m ", newLines(Config{Ranks: 4, Prefix: true, Colour: true}).prefixOf(2))
}

func TestALineTooLongIsCut(t *testing.T) {
	var out bytes.Buffer
	long := strings.Repeat("x", maxLine+10)
	newLines(Config{Ranks: 1, Prefix: true}).copy(&out, strings.NewReader(long+"\nend"), 0)
	require.Equal(t, "[0] "+long[:maxLine]+"\n[0] xxxxxxxxxx\n[0] end\n", out.String())
}
