package experts

import (
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/layout"
)

// initialize gives the experts of a group that do not stand at the position of their number the
// first parameters of their number.
func (g *group) initialize(cfg Config, shape expert.Shape) error {
	set := g.Params()
	if set == nil {
		return nil
	}
	for i := range shape.Count {
		number := cfg.Order.Expert(shape.First + i)
		if number == shape.First+i {
			continue
		}
		one := shape
		one.First, one.Count = number, 1
		from, err := newGroup(cfg.Expert, one)
		if err != nil {
			return err
		}
		values := from.Params()
		for t := range set.Tensors() {
			copy(layout.PartOf(set.Of(set.Value, t), i, shape.Count), values.Of(values.Value, t))
		}
	}
	return nil
}
