package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
)

// recorder notes what happens to the files of all ranks.
type recorder struct {
	mu     sync.Mutex
	events map[string][]string // of each file
	early  []string            // files that were made when the model's index was there already
	late   []string            // files that were not there yet when the model's index was made
	files  int
}

// recorded is a file of a recorder.
type recorded struct {
	checkpoint.File
	r    *recorder
	name string
}

func (r *recorder) create(path string) (checkpoint.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	folder, name := filepath.Split(path)
	if _, err := os.Stat(filepath.Join(folder, "model.safetensors.index.json")); err == nil {
		r.early = append(r.early, name)
	}
	if strings.HasPrefix(name, "model.safetensors.index.json") {
		items, err := os.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			r.files++
			if strings.HasSuffix(item.Name(), ".tmp") {
				r.late = append(r.late, item.Name())
			}
		}
	}
	r.events[name] = append(r.events[name], "create")
	f, err := checkpoint.CreateFile(path)
	return recorded{f, r, name}, err
}

func (f recorded) note(event string) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.r.events[f.name] = append(f.r.events[f.name], event)
}

func (f recorded) Sync() error {
	f.note("sync")
	return f.File.Sync()
}

func (f recorded) Close() error {
	f.note("close")
	return f.File.Close()
}

// TestTheIndexOfTheModelComesLast: before it, each file is on the disk under its own name.
func TestTheIndexOfTheModelComesLast(t *testing.T) {
	m, l := rows()
	dir, r := t.TempDir(), &recorder{events: map[string][]string{}}
	requireNone(t, onRanks(t, 3, func(w *switchyard.World, rank int) error {
		s, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir})
		if err != nil {
			return err
		}
		s.SetCreate(r.create)
		if err := s.Save(t.Context(), 1, m.part(l, rank, false)); err != nil {
			return err
		}
		return s.Close()
	}))
	require.Empty(t, r.early)
	require.Empty(t, r.late)
	require.Equal(t, 3+3+1, r.files, "files beside the index of the model")
	require.Len(t, r.events, 3+3+1+1)
	for name, events := range r.events {
		require.True(t, strings.HasSuffix(name, ".tmp"), name)
		require.Equal(t, []string{"create", "sync", "close"}, events, name)
	}
}
