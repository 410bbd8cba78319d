package outfile

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := []string{}
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteReplacesAsAWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	require.NoError(t, WriteBytes(path, []byte("old")))
	require.NoError(t, os.Chmod(path, 0o640))
	broken := errors.New("broken")
	err := Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "half of the n")
		require.NoError(t, err)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "old", string(text), "while the new one is written")
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, path)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(text))
	require.Equal(t, []string{"a.json"}, names(t, dir), "nothing is left behind")

	require.NoError(t, WriteBytes(path, []byte("new")))
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(text))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm(), "who may read it stays")
	require.Equal(t, []string{"a.json"}, names(t, dir))
}

func TestWriteKeepsLinks(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("target", link))
	for _, text := range []string{"dangling", "again"} {
		require.NoError(t, WriteBytes(link, []byte(text)))
		got, err := os.ReadFile(filepath.Join(dir, "target"))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	require.Equal(t, []string{"link", "target"}, names(t, dir))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	require.ErrorContains(t, WriteBytes(filepath.Join(dir, "loop"), nil), "links")
}

func TestWriteToAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	got := make(chan string)
	go func() {
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte(err.Error())
		}
		got <- string(text)
	}()
	require.NoError(t, WriteBytes(path, []byte("through")))
	require.Equal(t, "through", <-got)
	require.NoError(t, WriteBytes("/dev/null", []byte("gone")))
}

func TestLongName(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, WriteBytes(filepath.Join(dir, strings.Repeat("a", 255)), nil))
	require.Error(t, Probe(filepath.Join(dir, strings.Repeat("a", 256))))
}

// TestCheckNamesFlagAndPath of what cannot be written, whatever the reason.
func TestCheckNamesFlagAndPath(t *testing.T) {
	dir := t.TempDir()
	plain, readOnly := filepath.Join(dir, "plain"), filepath.Join(dir, "readonly")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	require.NoError(t, os.WriteFile(readOnly, []byte("kept"), 0o400))
	closed := filepath.Join(dir, "closed")
	require.NoError(t, os.Mkdir(closed, 0o500))
	cases := map[string]string{
		dir:                           "is a directory",
		readOnly:                      "is read-only",
		filepath.Join(dir, "no", "x"): "its directory: no such file or directory",
		filepath.Join(plain, "x"):     "not a directory",
		dir + "/new/":                 "is the name of a directory",
		"/proc/nothing":               "no such file",
		filepath.Join(dir, "x\x00y"):  "invalid argument",
		filepath.Join(dir, "plain", "..", "no", "y"): "no such file or directory",
	}
	if os.Getuid() != 0 {
		cases[filepath.Join(closed, "x")] = "permission denied"
	}
	before := names(t, dir)
	for path, says := range cases {
		var to, other string
		f := flag.NewFlagSet("test", flag.ContinueOnError)
		Var(f, &to, "json", "", "a `file`")
		Var(f, &other, "svg", "", "a `file`")
		require.NoError(t, f.Parse([]string{"-json", path, "-svg", filepath.Join(dir, "good")}))
		require.Equal(t, path, to)
		err := Check(f)
		require.ErrorContains(t, err, "-json: open "+path+": ", path)
		require.ErrorContains(t, err, says, path)
		require.NotContains(t, err.Error(), "-svg")
	}
	require.Equal(t, before, names(t, dir), "a check leaves nothing behind")
}

func TestCheckSeesOneFileNamedTwice(t *testing.T) {
	t.Chdir(t.TempDir())
	var a, b, c string
	f := flag.NewFlagSet("test", flag.ContinueOnError)
	Var(f, &a, "json", "", "")
	Var(f, &b, "svg", "loss.svg", "")
	Var(f, &c, "trace", "", "")
	require.Equal(t, "loss.svg", b)
	require.NoError(t, Check(f))
	require.NoError(t, f.Parse([]string{"-json", "./loss.svg"}))
	require.ErrorContains(t, Check(f), "-svg: open loss.svg: -json names the same file")
	require.NoError(t, f.Parse([]string{"-json", "/dev/stdout", "-svg", "/dev/stdout"}))
	require.NoError(t, Check(f))
}
