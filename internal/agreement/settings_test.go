package agreement

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDifferenceIsPrintable: a field of a peer's configuration stands in the error of every rank.
func TestDifferenceIsPrintable(t *testing.T) {
	theirs := "Dim 4\nRouter x\x1b[2J\r\u202e\xff" + strings.Repeat("y", 1<<16)
	got := difference("Dim 4\nRouter z", theirs)
	require.Contains(t, got, `here Router z, there Router x\x1b[2J\r\u202e\xffyyy`)
	require.Less(t, len(got), 3<<10)
}
