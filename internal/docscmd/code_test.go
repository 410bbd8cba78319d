package docscmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	page, source := filepath.Join(dir, "page.md"), filepath.Join(dir, "source.go")
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o666)) }
	write(source, "package x\n\nfunc f() {\n\tone()\n\ttwo()\n\tthree()\n}\n")
	write(page, "A page:\n\n```go\none()\ntwo()\n```\n\n```go\nfunc f() {\n\t…\n\tthree()\n```\n\n```go\none()\nthree()\n```\n\n```go\nthree()\n…\none()\n```\n")
	missing, err := Missing(page, source)
	require.NoError(t, err)
	require.Equal(t, []string{"one()\nthree()\n", "three()\n…\none()\n"}, missing)
	write(page, "No code.\n")
	_, err = Missing(page, source)
	require.ErrorContains(t, err, "has no Go code")
	_, err = Missing(page, filepath.Join(dir, "none"))
	require.Error(t, err)
}
