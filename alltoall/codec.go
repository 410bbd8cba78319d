package alltoall

import "errors"

// Codec writes rows of numbers in messages, and reads them there. [Format] lists the built-in ones;
// a program adds its own, and tests them with package codectest. (FSMoE calls it a compressor.)
//
// A row is written by itself: the same numbers give the same bytes on every rank, whatever rows
// came before. A row that holds a NaN or an infinity is read as one that does, so that
// [Wire].Finite and the program's own checks find it; where a codec has no room for a finite number
// it may write an infinity.
//
// Methods are called by several goroutines at once, must not panic, and keep none of what they
// get.
type Codec interface {
	// String is the codec's name with all its settings, which ranks compare.
	String() string
	// Bytes is the length of a row of n numbers, which depends on nothing but n. A layer has no rows
	// of 0 numbers, nor may a row have 0 bytes.
	Bytes(n int) int
	// Append writes row, which it must not change, behind dst in Bytes(len(row)) bytes, and returns
	// the longer slice, as append does. There is room for the row in what dst is given with. Another
	// length is an error of the exchange, [ErrCodec].
	Append(dst []byte, row []float32) []byte
	// Decode sets all of row to what src holds, which is Bytes(len(row)) long. Its content comes from
	// another rank and may be anything: what cannot be read is an error.
	Decode(row []float32, src []byte) error
}

// ErrCodec says that a codec has written another number of bytes than its Bytes says, or cannot
// read what a rank has sent.
var ErrCodec = errors.New("codec failed")

// CheckCodec returns an error if c is a nil pointer, a format that is not one of those here, or has
// no length for rows of n numbers.
func CheckCodec(c Codec, n int) error { return validateCodec(c, n) }
