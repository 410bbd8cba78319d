package secure

import (
	"bytes"
	"crypto/sha256"
	"log/slog"
	"os"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// file is a value that is kept in files, and parsed again when they change. Their bytes are
// compared and not their times, which are too coarse to tell two writes apart.
type file[T any] struct {
	paths []string
	parse func(content [][]byte) (T, error)
	log   *slog.Logger

	mu    sync.Mutex
	sum   [sha256.Size]byte
	value T
	valid bool
}

// get returns the value of the files as they are now. If they do not parse, it is the last good
// value: a rotation writes a certificate and its key one after the other.
func (f *file[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	content, err := f.read()
	if err == nil {
		sum := sha256.Sum256(bytes.Join(content, []byte{0}))
		if f.valid && sum == f.sum {
			return f.value, nil
		}
		var v T
		if v, err = f.parse(content); err == nil {
			f.value, f.sum, f.valid = v, sum, true
			return v, nil
		}
	}
	if f.valid {
		f.log.Warn("files cannot be used, the last good content stays in use", "files", f.paths, "err", err)
		return f.value, nil
	}
	return f.value, err
}

func (f *file[T]) read() ([][]byte, error) {
	var content [][]byte
	for _, path := range f.paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, errtext.Errorf("secure: %w", err)
		}
		content = append(content, b)
	}
	return content, nil
}
