package formats

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// floats reads float32 numbers, the bits of each in hex.
func floats(text string) ([]float32, error) {
	fields := strings.Fields(text)
	list := make([]float32, len(fields))
	for i, f := range fields {
		b, err := strconv.ParseUint(f, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("number %d: %w", i, err)
		}
		list[i] = math.Float32frombits(uint32(b))
	}
	return list, nil
}

// bitsText is what floats reads; every NaN is the same.
func bitsText(list []float32) string {
	text := make([]string, len(list))
	for i, v := range list {
		if v != v {
			v = float32(math.NaN())
		}
		text[i] = fmt.Sprintf("%08x", math.Float32bits(v))
	}
	return strings.Join(text, " ")
}

// normal rewrites a table's numbers as bitsText has them.
func normal(text string) string {
	list, err := floats(text)
	if err != nil {
		return text
	}
	return bitsText(list)
}

// bytesOf reads n bytes in hex.
func bytesOf(text string, n int) ([]byte, error) {
	b, err := hex.DecodeString(text)
	if err == nil && n >= 0 && len(b) != n {
		err = fmt.Errorf("%d bytes, want %d", len(b), n)
	}
	return b, err
}

// toBF16 rounds finite numbers to bfloat16, and returns them as float32.
func toBF16(list []float32) []float32 {
	out := make([]float32, len(list))
	for i, v := range list {
		out[i] = bf16.value(bf16.code(float64(v), overflowInf))
	}
	return out
}
