// Package outfile writes the files that a program's flags name. It checks before the long work that
// they can be written, and each file is either complete or not changed.
package outfile

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// file is the value of a flag that names an output file.
type file struct{ to *string }

func (f file) String() string {
	if f.to == nil {
		return ""
	}
	return *f.to
}

func (f file) Set(path string) error {
	*f.to = path
	return nil
}

// Var declares a flag that names an output file; Check looks at it. An empty name is no file.
func Var(f *flag.FlagSet, to *string, name, value, usage string) {
	*to = value
	f.Var(file{to}, name, usage)
}

// Check returns an error for each flag declared by Var whose file cannot be written, and for two
// that name the same file. It leaves nothing behind.
func Check(f *flag.FlagSet) error {
	var faults []error
	flags := map[string]string{} // by the path in full
	f.VisitAll(func(g *flag.Flag) {
		v, ok := g.Value.(file)
		if !ok || *v.to == "" {
			return
		}
		if err := Probe(*v.to); err != nil {
			faults = append(faults, fmt.Errorf("-%s: open %s: %w", g.Name, *v.to, bare(err)))
			return
		}
		full, _ := resolve(*v.to)
		if other, twice := flags[full]; twice && !stream(full) {
			faults = append(faults, fmt.Errorf("-%s: open %s: -%s names the same file", g.Name, *v.to, other))
		}
		flags[full] = g.Name
	})
	return errors.Join(faults...)
}

// bare leaves out the operation and the path, which the caller names.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Probe returns why a file cannot be written, if so. It makes a file beside it and removes that one
// again.
func Probe(path string) error {
	path, err := resolve(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("is a directory")
	case !info.Mode().IsRegular(), stream(path):
		return nil
	case info.Mode().Perm()&0o222 == 0:
		return errors.New("is read-only")
	}
	if strings.HasSuffix(path, string(filepath.Separator)) {
		return errors.New("is the name of a directory")
	}
	if n := len(filepath.Base(path)); n > maxName {
		return fmt.Errorf("a name of %d bytes, want at most %d", n, maxName)
	}
	f, err := beside(path)
	if err != nil {
		return fmt.Errorf("its directory: %w", bare(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// maxName is the most bytes in the name of a file on the file systems in use.
const maxName = 255

// Write writes a file with what write writes. It uses another name in the same directory and
// renames the file at the end, so that the path has either the old content or all of the new. If
// the path is no regular file but a device or a pipe, it writes to that. The error names the path.
func Write(path string, write func(io.Writer) error) error {
	full, err := resolve(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(full)
	if stream(full) || err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return writeThrough(full, write)
	}
	if err := Probe(path); err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	f, err := beside(full)
	if err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	err = write(f)
	if info != nil && err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), full)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// WriteBytes is Write of bytes at hand.
func WriteBytes(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// writeThrough writes to a device or pipe, which a rename cannot replace.
func writeThrough(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// stream says whether a path is one of a device or of a descriptor: a file that stands behind it is
// open elsewhere.
func stream(path string) bool {
	return strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/dev/shm/") || strings.HasPrefix(path, "/proc/")
}

// resolve returns a path in full, and what it links to in place of a link, so that a rename does
// not replace the link.
func resolve(path string) (string, error) {
	trailing := strings.HasSuffix(path, string(filepath.Separator))
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	const most = 40
	for range most {
		if stream(path) {
			return path, nil
		}
		to, err := os.Readlink(path)
		if err != nil { // no link, or nothing is there
			if trailing {
				path += string(filepath.Separator)
			}
			return path, nil
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("more than %d links", most)
}

// beside makes a new file in the directory of path. Its name is short, as that of path may be as
// long as names can be.
func beside(path string) (*os.File, error) {
	for {
		name := filepath.Join(filepath.Dir(path), fmt.Sprintf(".unfinished-%016x", rand.Uint64()))
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}
