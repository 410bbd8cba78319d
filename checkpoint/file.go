package checkpoint

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// temporary ends the name of a file that is not complete.
const temporary = ".tmp"

// file is what a save needs of an *os.File.
type file interface {
	io.WriteCloser
	Sync() error
}

func createFile(path string) (file, error) { return os.Create(path) }

// writeWhole makes a file that is either complete and on the disk or not there. write writes its
// content.
func writeWhole(create func(string) (file, error), path string, write func(io.Writer) error) (err error) {
	f, err := create(path + temporary)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if removal := os.Remove(path + temporary); !errors.Is(removal, fs.ErrNotExist) {
				err = errors.Join(err, removal)
			}
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+temporary, path)
}

// syncFolder puts the names in a folder on the disk. Some file systems cannot be asked to.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" { // has no such call, and needs none
		return nil
	}
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// makeFolder makes a folder, and those above it that are not there, and puts their names on the
// disk. One above that may not be read is left to the system.
func makeFolder(folder string) error {
	above := filepath.Dir(folder)
	err := os.Mkdir(folder, 0o777)
	if errors.Is(err, fs.ErrNotExist) && above != folder {
		if err := makeFolder(above); err != nil {
			return err
		}
		err = os.Mkdir(folder, 0o777)
	}
	if info, unknown := os.Stat(folder); err != nil && (unknown != nil || !info.IsDir()) {
		return err
	}
	if err := syncFolder(above); !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// isLink tells whether there is something else than a folder at path: a link to one, perhaps.
func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && !info.IsDir()
}

// pieceBytes is how much is written or read at once: what a cache holds while it is summed.
const pieceBytes = 1 << 20

// pace limits the rate of a writer. The zero value does not.
type pace struct {
	rate  int64 // bytes in a second
	flush <-chan struct{}
	begun time.Time
	bytes int64
}

// wait waits until n more bytes may be written.
func (p *pace) wait(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if p.rate == 0 {
		return nil
	}
	if p.begun.IsZero() {
		p.begun = time.Now()
	}
	due := time.Duration(float64(p.bytes) / float64(p.rate) * float64(time.Second))
	p.bytes += int64(n)
	timer := time.NewTimer(time.Until(p.begun.Add(due)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.flush:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
