package switchyard

import (
	"errors"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/layout"
)

// Axis is one dimension of a [Mesh]: a name such as "dp", and a number of ranks.
type Axis struct {
	Name string
	Size int
}

// Mesh is the ranks of a world in a grid with named axes, of which the last varies fastest, as in
// PyTorch's DeviceMesh: NewMesh(w, Axis{"pp", 2}, Axis{"dp", 2}, Axis{"ep", 2}) has ranks 0 to 3 in
// the first stage, and 0 and 1 differ in ep. Megatron names the fastest first: its tp-cp-ep-dp-pp
// is pp, dp, ep, cp, tp here. A layout with other axes for experts (Megatron's etp, ep, edp) or for
// model parallelism (DeepSpeed, FSMoE's esp) is a second mesh of the same world.
type Mesh struct {
	world  *World
	grid   layout.Mesh
	worlds map[string]*World // by the names of axes, joined by commas
}

// NewMesh makes a mesh of a world, and the world of each axis. The product of the sizes is the
// world's; one may be 0, which means what the others leave. Every rank calls it, with the same
// axes.
func NewMesh(world *World, axes ...Axis) (*Mesh, error) {
	if world == nil || world.t == nil {
		return nil, errors.New("switchyard: NewMesh: the world was not made by Join or NewWorld")
	}
	m, list := &Mesh{world: world, worlds: map[string]*World{}}, layout.Mesh{}
	for _, a := range axes {
		list = append(list, layout.Axis(a))
	}
	if err := world.agree("NewMesh", "axes", list); err != nil {
		return nil, err
	}
	var err error
	if m.grid, err = layout.NewMesh(world.Size(), list); err != nil {
		return nil, errtext.Errorf("switchyard: NewMesh: %w", err)
	}
	for _, a := range axes {
		if _, err := m.World(a.Name); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// World returns the world of the ranks that differ from this one only in the named axes. The last
// name varies fastest, whatever the order of the mesh: a layer whose [Config].ExpertParallel is
// m.Size("ep") is made on m.World("dp", "ep"), where the ranks of a copy of the experts follow each
// other. The world of several axes is made when it is first asked for, by all ranks at once
// ([World.Group]), who ask for such worlds in the same order; later calls return the same one.
func (m *Mesh) World(names ...string) (*World, error) {
	if m == nil || m.world == nil {
		return nil, errors.New("switchyard: Mesh.World: the mesh was not made by NewMesh")
	}
	members, err := m.grid.Along(int(m.world.Rank()), names...)
	if err != nil {
		return nil, errtext.Errorf("switchyard: Mesh.World: %w", err)
	}
	key := strings.Join(names, ",")
	if w := m.worlds[key]; w != nil {
		return w, nil
	}
	m.worlds[key], err = m.world.Group(members)
	return m.worlds[key], err
}

// Coord is the position of this rank on an axis, from 0. It panics if there is no such axis.
func (m *Mesh) Coord(name string) int {
	return m.grid.Coord(int(m.world.Rank()), m.grid.MustFind(name))
}

// Size is the number of ranks on an axis. It panics if there is none.
func (m *Mesh) Size(name string) int { return m.grid[m.grid.MustFind(name)].Size }

// String lists the axes: "pp=2 × dp=2 × ep=2".
func (m *Mesh) String() string { return m.grid.String() }
