package rowgradients

import "github.com/switchyard-moe/switchyard/alltoall"

// numberBytes is the length of a cluster's number in a message, and most the numbers that there
// are: all of them are exact in float32.
const (
	numberBytes = 3
	most        = 1 << (8 * numberBytes)
)

// numbered writes all columns of a row but the last in a codec, and the last, which is the number
// of a cluster, behind it.
type numbered struct{ alltoall.Codec }

// String is the name of the codec, and what is behind it.
func (c numbered) String() string { return c.Codec.String() + " and a cluster" }

// Bytes is the length of a row of n numbers.
func (c numbered) Bytes(n int) int { return c.Codec.Bytes(n-1) + numberBytes }

// Append writes a row.
func (c numbered) Append(dst []byte, row []float32) []byte {
	last := len(row) - 1
	number := uint32(row[last])
	return append(c.Codec.Append(dst, row[:last]), byte(number), byte(number>>8), byte(number>>16))
}

// Decode reads a row. Any number of a cluster is possible.
func (c numbered) Decode(row []float32, src []byte) error {
	last, end := len(row)-1, len(src)-numberBytes
	row[last] = float32(uint32(src[end]) | uint32(src[end+1])<<8 | uint32(src[end+2])<<16)
	return c.Codec.Decode(row[:last:last], src[:end:end])
}

// bare writes all columns of a row but the last in a codec.
type bare struct{ alltoall.Codec }

// String is the name of the codec.
func (c bare) String() string { return c.Codec.String() }

// Bytes is the length of a row of n numbers.
func (c bare) Bytes(n int) int { return c.Codec.Bytes(n - 1) }

// Append writes a row.
func (c bare) Append(dst []byte, row []float32) []byte {
	return c.Codec.Append(dst, row[:len(row)-1])
}

// Decode reads a row, whose last column is 0.
func (c bare) Decode(row []float32, src []byte) error {
	last := len(row) - 1
	row[last] = 0
	return c.Codec.Decode(row[:last:last], src)
}
