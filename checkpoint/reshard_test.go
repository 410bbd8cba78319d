package checkpoint_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
)

// TestAnyLayoutLoadsWhatAnyOtherSaved: random models, saved and loaded on random numbers of ranks
// with random holders of each tensor.
func TestAnyLayoutLoadsWhatAnyOtherSaved(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			m := newModel(seed, rng.IntN(60))
			savers, loaders := 1+rng.IntN(5), 1+rng.IntN(5)
			dir := filepath.Join(t.TempDir(), "new", "folder")
			cfg := checkpoint.Config{Dir: dir, NoCopy: seed%2 == 0, Metadata: map[string]string{"seed": fmt.Sprint(seed)}}
			step := rng.IntN(1 << 30)
			m.save(t, cfg, savers, step)

			l := newLayout(seed, m, loaders)
			parts := make([]checkpoint.Part, loaders)
			requireNone(t, onRanks(t, loaders, func(w *switchyard.World, rank int) error {
				parts[rank] = m.part(l, rank, true)
				info, err := checkpoint.Load(t.Context(), w, dir, checkpoint.Options{}, parts[rank])
				if err != nil {
					return err
				}
				if info.Step != step || info.Ranks != savers || info.Metadata["seed"] != fmt.Sprint(seed) || info.Tensors != len(parts[rank].State.Entries) {
					return fmt.Errorf("%+v", info)
				}
				return nil
			}))
			for _, p := range parts {
				m.requireIn(t, p)
			}
			latest, err := checkpoint.Latest(dir)
			require.NoError(t, err)
			require.Equal(t, step, latest.Step)
		})
	}
}
