package checkpoint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/param"
)

// TestEntriesThatALoadMakes are loaded as those that are listed, and asked for only if the
// checkpoint has one of them.
func TestEntriesThatALoadMakes(t *testing.T) {
	dir := saved(t, entry("a.w"), entry("a.late.m"), entry("a.late.v"), entry("b.w"))
	for _, c := range []struct {
		makes   []string
		options checkpoint.Options
		asked   []string
		err     string
	}{
		{makes: []string{"late.m", "late.v"}, asked: []string{"late.m"}},
		{makes: []string{"late.m"}, asked: []string{"late.m", "late.v"}, err: `tensor "a.late.v" is in the checkpoint, but no rank has an entry for it`},
		{makes: []string{"late.m", "late.v", "late.n"}, asked: []string{"late.m"}, err: `tensor "a.late.n" is missing`},
		{options: checkpoint.Options{AllowExtra: []string{"a.late.*"}}},
		{options: checkpoint.Options{AllowExtra: []string{"*.v"}}, makes: []string{"late.m"}, asked: []string{"late.m"}},
	} {
		made := map[string][]float32{}
		var asked []string
		parts := []checkpoint.Part{
			{Name: "a", State: &param.State{
				Entries: []param.Entry{entry("w")},
				Make: func(name string) (list []param.Entry) {
					asked = append(asked, name)
					if len(asked) > 1 {
						return nil
					}
					for _, name := range c.makes {
						made[name] = make([]float32, 4)
						list = append(list, param.Entry{Name: name, Shape: []int{2, 2}, Data: made[name]})
					}
					return list
				},
			}},
			{Name: "b", State: &param.State{Entries: []param.Entry{entry("w")}}},
		}
		err := onRanks(t, 1, func(w *switchyard.World, _ int) error {
			_, err := checkpoint.Load(t.Context(), w, dir, c.options, parts...)
			return err
		})[0]
		require.Equal(t, c.asked, asked, "%+v", c)
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err, "%+v", c)
		for name, data := range made {
			require.Equal(t, []float32{1, 2, 3, 4}, data, name)
		}
	}
}
