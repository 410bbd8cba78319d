package checkpoint

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
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
			err = errors.Join(err, os.Remove(path+temporary))
		}
	}()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+temporary, path)
}

// syncFolder puts the names in a folder on the disk.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" { // has no such call, and needs none
		return nil
	}
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeFolder makes a folder and those above it, and puts its name on the disk.
func makeFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(folder))
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
