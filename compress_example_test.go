package switchyard_test

import (
	"context"
	"fmt"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// Two ranks on two nodes, whose link takes 800 ns a byte: rows cross it in four bits, as long as a
// tenth of what training gains by the experts may be lost.
func ExampleCompression() {
	ctx := context.Background()
	onRanks(2, func(world *switchyard.World) error {
		layer, err := switchyard.NewLayer(world, switchyard.Config{
			Dim: 64, Experts: 4, Group: 2, Router: router.TopK{K: 1}, Expert: expert.FFN{Hidden: 3},
			Topology:    alltoall.Nodes(2, 1),
			Links:       links.Links{Between: links.Link{Beta: 1e6}}, // so slow that bytes alone count
			Compression: switchyard.Compression{When: switchyard.CompressAuto, Budget: 0.1},
		})
		if err != nil {
			return err
		}
		x := blas32.General{Rows: 2, Cols: 64, Stride: 64, Data: make([]float32, 2*64)}
		if _, err := layer.Forward(ctx, x); err != nil {
			return err
		}
		if world.Rank() == 0 {
			way, _, _ := strings.Cut(layer.Stats().Compression.Choice, ";") // the time and the loss follow
			fmt.Println(way)
		}
		return nil
	})
	// Output: between nodes: mxfp4-h, 0.13× the bytes
}
