package checkpoint_test

import (
	"path/filepath"
	"testing"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/transport"
)

// TestGroupsSaveTheirOwn: two groups of a world, the stages of a pipeline say, save at the same
// time, each its own checkpoint. Other ranks load them.
func TestGroupsSaveTheirOwn(t *testing.T) {
	groups := [][]transport.Rank{{3, 1}, {4, 0, 2}}
	var models [2]*model
	var dirs [2]string
	for i := range models {
		models[i], dirs[i] = newModel(uint64(20+i), 12), filepath.Join(t.TempDir(), "stage")
	}
	requireNone(t, onRanks(t, 5, func(w *switchyard.World, rank int) error {
		i := 1 - rank%2
		g, err := w.Group(groups[i])
		if err != nil {
			return err
		}
		part := models[i].part(newLayout(9, models[i], g.Size()), int(g.Rank()), false)
		return saveOn(g, checkpoint.Config{Dir: dirs[i]}, part, 7)
	}))
	for i, m := range models {
		requireNone(t, onRanks(t, 2, func(w *switchyard.World, rank int) error {
			part := m.part(newLayout(1, m, 2), rank, true)
			_, err := checkpoint.Load(t.Context(), w, dirs[i], checkpoint.Options{}, part)
			if err == nil {
				m.requireIn(t, part)
			}
			return err
		}))
	}
}
