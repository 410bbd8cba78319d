package layout_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/transport"
)

func mesh(t *testing.T, ranks int, axes ...layout.Axis) layout.Mesh {
	t.Helper()
	m, err := layout.NewMesh(ranks, axes)
	require.NoError(t, err)
	return m
}

// groups lists the groups along axes, in the order of their first ranks.
func groups(t *testing.T, m layout.Mesh, ranks int, names ...string) (list [][]int) {
	t.Helper()
	seen := map[int]bool{}
	for r := range ranks {
		along, err := m.Along(r, names...)
		require.NoError(t, err)
		require.Contains(t, along, transport.Rank(r))
		if seen[r] {
			continue
		}
		var group []int
		for _, member := range along {
			require.False(t, seen[int(member)], "groups share no rank")
			seen[int(member)] = true
			group = append(group, int(member))
		}
		list = append(list, group)
	}
	return list
}

// TestMegatron: the order tp-cp-ep-dp-pp names the fastest axis first. Sixteen ranks with tensor
// parallelism of 2 and pipelines of 4 are the example of its documentation.
func TestMegatron(t *testing.T) {
	m := mesh(t, 16, layout.Axis{"pp", 4}, layout.Axis{"dp", 0}, layout.Axis{"ep", 1}, layout.Axis{"cp", 1}, layout.Axis{"tp", 2})
	require.Equal(t, "pp=4 × dp=2 × ep=1 × cp=1 × tp=2", m.String())
	require.Equal(t, [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}, {10, 11}, {12, 13}, {14, 15}}, groups(t, m, 16, "tp"))
	require.Equal(t, [][]int{{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15}}, groups(t, m, 16, "pp"))
	require.Equal(t, [][]int{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {12, 14}, {13, 15}}, groups(t, m, 16, "dp"))
}

// TestMegatronExperts: dense layers are tp × dp and experts etp × ep × edp over the same ranks.
func TestMegatronExperts(t *testing.T) {
	dense := mesh(t, 16, layout.Axis{"pp", 2}, layout.Axis{"dp", 4}, layout.Axis{"tp", 2})
	experts := mesh(t, 16, layout.Axis{"pp", 2}, layout.Axis{"edp", 2}, layout.Axis{"ep", 4}, layout.Axis{"etp", 1})
	require.Equal(t, groups(t, dense, 16, "pp"), groups(t, experts, 16, "pp"), "they have the same stages")
	require.Equal(t, [][]int{{0, 2, 4, 6}, {1, 3, 5, 7}, {8, 10, 12, 14}, {9, 11, 13, 15}}, groups(t, dense, 16, "dp"))
	require.Equal(t, [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13, 14, 15}}, groups(t, experts, 16, "ep"))
	require.Equal(t, [][]int{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}, {9, 13}, {10, 14}, {11, 15}}, groups(t, experts, 16, "edp"))
	stages := groups(t, experts, 16, "edp", "ep")
	require.Equal(t, stages, groups(t, dense, 16, "dp", "tp"))
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7}, stages[0])
}

// TestDeepSpeed: expert parallel ranks are consecutive, and those that hold the same experts are
// expert-data-parallel. With model parallelism both hold for ranks of one model-parallel place.
func TestDeepSpeed(t *testing.T) {
	m := mesh(t, 8, layout.Axis{"edp", 0}, layout.Axis{"ep", 2})
	require.Equal(t, [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}}, groups(t, m, 8, "ep"))
	require.Equal(t, [][]int{{0, 2, 4, 6}, {1, 3, 5, 7}}, groups(t, m, 8, "edp"))
	m = mesh(t, 16, layout.Axis{"edp", 0}, layout.Axis{"ep", 4}, layout.Axis{"mp", 2})
	require.Equal(t, [][]int{{0, 2, 4, 6}, {1, 3, 5, 7}, {8, 10, 12, 14}, {9, 11, 13, 15}}, groups(t, m, 16, "ep"))
	require.Equal(t, [][]int{{0, 8}, {1, 9}, {2, 10}, {3, 11}, {4, 12}, {5, 13}, {6, 14}, {7, 15}}, groups(t, m, 16, "edp"))
}

// TestFSMoE: the ranks of a node share each expert (ESP, the model-parallel group), and experts and
// data are spread over nodes.
func TestFSMoE(t *testing.T) {
	m := mesh(t, 16, layout.Axis{"pp", 2}, layout.Axis{"dp", 2}, layout.Axis{"ep", 2}, layout.Axis{"esp", 2})
	require.Equal(t, [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}, {10, 11}, {12, 13}, {14, 15}}, groups(t, m, 16, "esp"))
	require.Equal(t, [][]int{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {12, 14}, {13, 15}}, groups(t, m, 16, "ep"))
	require.Equal(t, [][]int{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}, {9, 13}, {10, 14}, {11, 15}}, groups(t, m, 16, "dp"))
	require.Equal(t, [][]int{{0, 8}, {1, 9}, {2, 10}, {3, 11}, {4, 12}, {5, 13}, {6, 14}, {7, 15}}, groups(t, m, 16, "pp"))
	require.Equal(t, [][]int{{0, 2, 4, 6}, {1, 3, 5, 7}, {8, 10, 12, 14}, {9, 11, 13, 15}}, groups(t, m, 16, "dp", "ep"))
}

// TestTheLastNameVariesFastest, also where the mesh has it before the others.
func TestTheLastNameVariesFastest(t *testing.T) {
	m := mesh(t, 8, layout.Axis{"pp", 2}, layout.Axis{"ep", 2}, layout.Axis{"dp", 2})
	require.Equal(t, [][]int{{0, 2, 1, 3}, {4, 6, 5, 7}}, groups(t, m, 8, "dp", "ep"))
	require.Equal(t, [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}}, groups(t, m, 8, "ep", "dp"))
	require.Equal(t, [][]int{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}}, groups(t, m, 8))
}

// TestCoordinates of random meshes number the ranks as an odometer does, and ranks along some axes
// are those with the same coordinates on the others.
func TestCoordinates(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		var m layout.Mesh
		ranks := 1
		for _, name := range []string{"a", "b", "c", "d"}[:1+rng.IntN(4)] {
			m = append(m, layout.Axis{name, 1 + rng.IntN(4)})
			ranks *= m[len(m)-1].Size
		}
		require.Equal(t, m, mesh(t, ranks, m...))
		coords := make([][]int, ranks)
		odometer := make([]int, len(m))
		for r := range ranks {
			coords[r] = slices.Clone(odometer)
			for i := range m {
				require.Equal(t, odometer[i], m.Coord(r, i))
			}
			for i := len(m) - 1; i >= 0; i-- {
				if odometer[i]++; odometer[i] < m[i].Size {
					break
				}
				odometer[i] = 0
			}
		}
		checkAlong(t, m, coords, rng.IntN(1<<len(m)))
	}
}

// checkAlong checks the groups along the axes in a set.
func checkAlong(t *testing.T, m layout.Mesh, coords [][]int, set int) {
	t.Helper()
	var names []string
	for i, a := range m {
		if set>>i&1 == 1 {
			names = append(names, a.Name)
		}
	}
	for r := range coords {
		var want []transport.Rank
		for s := range coords {
			same := true
			for i := range m {
				same = same && (set>>i&1 == 1 || coords[r][i] == coords[s][i])
			}
			if same {
				want = append(want, transport.Rank(s))
			}
		}
		got, err := m.Along(r, names...)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestMeshesThatDoNotFit(t *testing.T) {
	for want, axes := range map[string][]layout.Axis{
		"axes a=2 × b=3 have 6 places, which do not fit the 8 ranks": {{"a", 2}, {"b", 3}},
		"axes a=3 × b=0 have 3 places, which do not fit the 8 ranks": {{"a", 3}, {"b", 0}},
		"axes a=4 × b=4 have too many places for the 8 ranks":        {{"a", 4}, {"b", 4}},
		`axes "a" and "b" have no size`:                              {{"a", 0}, {"b", 0}},
		`axis "a" is there twice`:                                    {{"a", 2}, {"a", 4}},
		`axis "a" has the size -1, want 0 to the 8 ranks`:            {{"a", -1}},
		`axis "a" has the size 9, want`:                              {{"a", 9}},
		`axis 1 has the name "", want`:                               {{"a", 8}, {"", 1}},
		`axis 0 has the name "a b"`:                                  {{"a b", 8}},
		"it has no axes, want one or more":                           {},
	} {
		_, err := layout.NewMesh(8, axes)
		require.ErrorContains(t, err, want)
	}
	m := mesh(t, 2, layout.Axis{"a", 2})
	_, err := m.Along(0, "b")
	require.EqualError(t, err, `no axis "b" among a=2`)
	_, err = m.Along(0, "a", "a")
	require.EqualError(t, err, `axis "a" is named twice`)
}

// TestCheckGroups: what is wrong, and which rank is to blame; ranks have other names than numbers.
func TestCheckGroups(t *testing.T) {
	name := func(r transport.Rank) transport.Rank { return r + 10 }
	_, err := layout.CheckGroups([][]transport.Rank{{2, 0}, nil, {2, 0}, {3}}, name)
	require.NoError(t, err)
	for want, lists := range map[string][][]transport.Rank{
		"it is not in its own list 0":                     {{0}, {0}},
		"its list has 2, which is outside 0..1":           {nil, {1, 2}},
		"it gives ranks 11 10, rank 10 gives ranks 10 11": {{0, 1}, {1, 0}},
		"it gives no group, rank 10 gives ranks 10 11":    {{0, 1}, nil},
		"listed twice in 1 1 1 1 1 1 1 1 … (9)":           {nil, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
	} {
		culprit, err := layout.CheckGroups(lists, name)
		require.ErrorContains(t, err, want)
		require.EqualValues(t, 1, culprit)
	}
}
