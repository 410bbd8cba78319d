package layout

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
)

// Axis is one dimension of a mesh.
type Axis struct {
	Name string
	Size int
}

// Mesh is ranks in a grid with named axes. The last axis varies fastest: with axes a, b, c of sizes
// A, B, C, rank r has the coordinates r/(B·C), r/C mod B and r mod C.
type Mesh []Axis

// NewMesh returns the mesh of ranks. One axis may have the size 0, which means the ranks that the
// others leave.
func NewMesh(ranks int, axes []Axis) (Mesh, error) {
	if len(axes) == 0 {
		return nil, errors.New("it has no axes, want one or more")
	}
	m, known, open := slices.Clone(axes), 1, -1
	for i, a := range axes {
		switch {
		case a.Name == "" || strings.ContainsAny(a.Name, " ,"):
			return nil, fmt.Errorf("axis %d has the name %q, want one without spaces and commas", i, a.Name)
		case slices.ContainsFunc(axes[:i], func(b Axis) bool { return b.Name == a.Name }):
			return nil, fmt.Errorf("axis %q is there twice", a.Name)
		case a.Size == 0 && open >= 0:
			return nil, fmt.Errorf("axes %q and %q have no size, want one of them at most", axes[open].Name, a.Name)
		case a.Size < 0 || a.Size > ranks:
			return nil, fmt.Errorf("axis %q has the size %d, want 0 to the %d ranks", a.Name, a.Size, ranks)
		case a.Size == 0:
			open = i
		case known > ranks/a.Size:
			return nil, fmt.Errorf("axes %s have too many places for the %d ranks", Mesh(axes), ranks)
		default:
			known *= a.Size
		}
	}
	if open >= 0 && ranks%known == 0 {
		m[open].Size = ranks / known
		known = ranks
	}
	if known != ranks {
		return nil, fmt.Errorf("axes %s have %d places, which do not fit the %d ranks", Mesh(axes), known, ranks)
	}
	return m, nil
}

// Find returns the position of the axis of a name.
func (m Mesh) Find(name string) (int, error) {
	i := slices.IndexFunc(m, func(a Axis) bool { return a.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("no axis %q among %s", name, m)
	}
	return i, nil
}

// MustFind is Find of a name that there must be: it panics.
func (m Mesh) MustFind(name string) int {
	i, err := m.Find(name)
	if err != nil {
		panic("switchyard: Mesh: " + err.Error())
	}
	return i
}

// Coord is the position of a rank along axis i.
func (m Mesh) Coord(rank, i int) int { return rank / m.stride(i) % m[i].Size }

// stride is how far apart neighbours on axis i are.
func (m Mesh) stride(i int) int {
	n := 1
	for _, a := range m[i+1:] {
		n *= a.Size
	}
	return n
}

// Along lists the ranks that differ from one only in the axes of the given names, of which the last
// varies fastest, whatever their order in the mesh.
func (m Mesh) Along(rank int, names ...string) ([]transport.Rank, error) {
	seen, list := map[string]bool{}, []transport.Rank{transport.Rank(rank)}
	for _, name := range names {
		i, err := m.Find(name)
		if err == nil && seen[name] {
			err = fmt.Errorf("axis %q is named twice", name)
		}
		if err != nil {
			return nil, err
		}
		seen[name] = true
		list = m.spread(list, i)
	}
	return list, nil
}

// spread lists, for each rank of a list, those that differ from it only in axis i.
func (m Mesh) spread(list []transport.Rank, i int) []transport.Rank {
	var to []transport.Rank
	for _, r := range list {
		first := int(r) - m.Coord(int(r), i)*m.stride(i)
		to = append(to, Ranks(first, m[i].Size, m.stride(i))...)
	}
	return to
}

// String lists the axes: "pp=2 × dp=2 × ep=4".
func (m Mesh) String() string {
	axes := make([]string, len(m))
	for i, a := range m {
		axes[i] = fmt.Sprintf("%s=%d", a.Name, a.Size)
	}
	return strings.Join(axes, " × ")
}
