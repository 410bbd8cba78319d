package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// write writes a file of the tensor "w", of two rows of two values, to path.
func write(path string) error {
	plan, err := safetensors.NewPlan(map[string]string{"format": "pt"}, []safetensors.Tensor{
		{Name: "w", DType: safetensors.F32, Shape: []int{2, 2}},
	})
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	w, err := safetensors.NewWriter(out, plan)
	if err != nil {
		return err
	}
	data, err := binary.Append(nil, binary.LittleEndian, []float32{1, 2, 3, 4})
	if err != nil {
		return err
	}
	if err := w.Write("w", data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "safetensors")
	check(err)
	defer func() { check(os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "model.safetensors")
	check(write(path))

	f, err := safetensors.Open(path)
	check(err)
	defer func() { check(f.Close()) }()
	for _, t := range f.Tensors() {
		data := make([]byte, t.Bytes)
		crc, err := f.ReadInto(t.Name, data)
		check(err)
		values := make([]float32, t.Bytes/4)
		_, err = binary.Decode(data, binary.LittleEndian, values)
		check(err)
		fmt.Printf("%s: %v %v, %v, CRC-32C %08x\n", t.Name, t.DType, t.Shape, values, crc)
	}
	fmt.Println(f.Metadata())
	// Output:
	// w: F32 [2 2], [1 2 3 4], CRC-32C 9eba690a
	// map[format:pt]
}

// A file in memory, or behind anything else that is an io.ReaderAt.
func ExampleNewFile() {
	text := "\x38\x00\x00\x00\x00\x00\x00\x00" + `{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}   ` + "xyz"
	f, err := safetensors.NewFile(bytes.NewReader([]byte(text)), int64(len(text)))
	check(err)
	last := make([]byte, 1)
	check(f.ReadRange("a", last, 2))
	fmt.Printf("%s\n", last)
	// Output: z
}

func ExampleNewPlan() {
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{
		{Name: "gate", DType: safetensors.BF16, Shape: []int{4, 2}},
		{Name: "step", DType: safetensors.I64},
		{Name: "experts.0", DType: safetensors.F32, Shape: []int{4, 4}},
	})
	check(err)
	for _, t := range plan.Tensors() { // the order in which a Writer takes them
		fmt.Println(t.Name, t.Bytes)
	}
	fmt.Println("file:", plan.Size())
	// Output:
	// step 8
	// experts.0 64
	// gate 16
	// file: 280
}

func ExampleNewWriter() {
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{{Name: "a", DType: safetensors.U8, Shape: []int{3}}})
	check(err)
	var file bytes.Buffer
	w, err := safetensors.NewWriter(&file, plan)
	check(err)
	check(w.Write("a", []byte("x"))) // in pieces
	check(w.Write("a", []byte("yz")))
	check(w.Close())
	fmt.Printf("%s\n", file.Bytes()[8:])
	// Output: {"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}   xyz
}

func ExampleParseIndex() {
	x, err := safetensors.ParseIndex([]byte(`{
		"metadata": {"total_size": 24},
		"weight_map": {
			"gate.w": "model-00001-of-00002.safetensors",
			"experts.0.w": "model-00002-of-00002.safetensors"
		}
	}`))
	check(err)
	fmt.Println(x.TotalSize, "bytes in", x.Files())
	fmt.Println("gate.w is in", x.WeightMap["gate.w"])
	// Output:
	// 24 bytes in [model-00001-of-00002.safetensors model-00002-of-00002.safetensors]
	// gate.w is in model-00001-of-00002.safetensors
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
