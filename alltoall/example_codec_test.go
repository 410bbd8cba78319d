package alltoall_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/codectest"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// int4 writes the largest magnitude of a row, and four bits for each number: −7 to 7 sevenths of
// that.
type int4 struct{}

func (int4) String() string { return "int4" }

func (int4) Bytes(n int) int { return 4 + (n+1)/2 }

func (c int4) Append(dst []byte, row []float32) []byte {
	largest := float32(0)
	for _, v := range row {
		if a := float32(math.Abs(float64(v))); !(a <= largest) { // a NaN too
			largest = a
		}
		if largest != largest {
			break
		}
	}
	dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(largest))
	codes := make([]byte, (len(row)+1)/2)
	for i, v := range row {
		if part := 7 * (v / largest); part == part { // no 0/0
			codes[i/2] |= byte(int(math.RoundToEven(float64(part)))+8) << (4 * (i % 2))
		}
	}
	return append(dst, codes...)
}

func (int4) Decode(row []float32, src []byte) error {
	largest, codes := math.Float32frombits(binary.LittleEndian.Uint32(src)), src[4:]
	for i := range row {
		code := codes[i/2] >> (4 * (i % 2)) & 15
		row[i] = 0
		if code != 0 || largest != largest || largest > math.MaxFloat32 {
			row[i] = largest * (float32(int(code)-8) / 7)
		}
	}
	return nil
}

func TestInt4(t *testing.T) { codectest.Run(t, int4{}, codectest.Loss{Most: 1. / 13}) }

// Rows and answers in four bits a number, and gradients too, rounded at random: of these, many are
// added.
func ExampleStochastic() {
	gradients := alltoall.Stochastic{Format: alltoall.NVFP4, Seed: 1}
	wire := alltoall.Wire{
		Dispatch: alltoall.MXFP4H, Combine: alltoall.MXFP4H, // rotated: outliers are spread
		DispatchBack: gradients, CombineBack: gradients,
	}
	fmt.Println(wire.Validate(1024), alltoall.Float32.Bytes(1024), wire.Dispatch.Bytes(1024), gradients.Bytes(1024))
	// Output: <nil> 4096 544 580
}

// A codec of the program's own, in a layer on two ranks: rows travel to their experts in four bits
// a number, their answers in bf16, and gradients as they are.
func ExampleCodec() {
	var ranks sync.WaitGroup
	for _, end := range inproc.New(2) {
		ranks.Go(func() {
			world := switchyard.NewWorld(end)
			err := passWith(world, alltoall.Wire{Dispatch: int4{}, Combine: alltoall.BF16})
			if err := errors.Join(err, world.Close()); err != nil || world.Rank() == 0 {
				fmt.Println("a row of 16 numbers:", int4{}.Bytes(16), "bytes; error:", err)
			}
		})
	}
	ranks.Wait()
	// Output: a row of 16 numbers: 12 bytes; error: <nil>
}

func passWith(world *switchyard.World, wire alltoall.Wire) error {
	const dim = 16
	layer, err := switchyard.NewLayer(world, switchyard.Config{
		Dim: dim, Experts: 4, Group: 2, Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 8}, Wire: wire,
	})
	if err != nil {
		return err
	}
	x := blas32.General{Rows: 2, Cols: dim, Stride: dim, Data: make([]float32, 2*dim)}
	for i := range x.Data {
		x.Data[i] = float32(math.Sin(float64(i)))
	}
	y, err := layer.Forward(context.Background(), x)
	if err != nil {
		return err
	}
	_, err = layer.Backward(context.Background(), y)
	return err
}

// A command line names the format in which rows travel. Everywhere takes it for all four exchanges
// of a step; a Wire may also have another one for each.
func ExampleEverywhere() {
	format, err := alltoall.ParseFormat("int8")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(format.Bytes(1024), "bytes of a row of 1024 numbers")
	fmt.Println(alltoall.Everywhere(format))
	fmt.Println(alltoall.Wire{Dispatch: alltoall.FP8, Combine: alltoall.BF16})
	// Output:
	// 1056 bytes of a row of 1024 numbers
	// {Dispatch:int8 Combine:int8 DispatchBack:int8 CombineBack:int8 Finite:false}
	// {Dispatch:fp8 Combine:bf16 DispatchBack:float32 CombineBack:float32 Finite:false}
}
