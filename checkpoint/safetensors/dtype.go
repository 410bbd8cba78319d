package safetensors

import "fmt"

// DType is the type of a tensor's elements. Its zero value is none.
type DType uint8

// The types that the format knows. The writer puts the tensors of later ones first.
const (
	Bool       DType = iota + 1 // a byte, 0 or 1
	F4                          // E2M1, two in a byte
	F6E2M3                      // four in three bytes
	F6E3M2                      // four in three bytes
	U8                          // unsigned integer
	I8                          // integer, as all that start with I
	F8E5M2                      // as in Micikevicius et al., "FP8 formats for deep learning", 2022
	F8E4M3                      // the same paper's: no infinities
	F8E8M0                      // a power of two: the scale of a block
	F8E4M3FNUZ                  // one NaN and one zero
	F8E5M2FNUZ                  // one NaN and one zero
	I16
	U16
	F16  // IEEE 754 binary16
	BF16 // the upper half of an F32
	I32
	U32
	F32
	C64 // two F32: real and imaginary part
	F64
	I64
	U64
)

// types gives the name in a file and the bits of each type, by number.
var types = [...]struct {
	name string
	bits int
}{
	Bool: {"BOOL", 8}, F4: {"F4", 4}, F6E2M3: {"F6_E2M3", 6}, F6E3M2: {"F6_E3M2", 6},
	U8: {"U8", 8}, I8: {"I8", 8}, F8E5M2: {"F8_E5M2", 8}, F8E4M3: {"F8_E4M3", 8},
	F8E8M0: {"F8_E8M0", 8}, F8E4M3FNUZ: {"F8_E4M3FNUZ", 8}, F8E5M2FNUZ: {"F8_E5M2FNUZ", 8},
	I16: {"I16", 16}, U16: {"U16", 16}, F16: {"F16", 16}, BF16: {"BF16", 16},
	I32: {"I32", 32}, U32: {"U32", 32}, F32: {"F32", 32},
	C64: {"C64", 64}, F64: {"F64", 64}, I64: {"I64", 64}, U64: {"U64", 64},
}

// String returns the type's name in a file, such as "F32" or "F8_E4M3".
func (d DType) String() string {
	if !d.known() {
		return fmt.Sprintf("DType(%d)", uint8(d))
	}
	return types[d].name
}

// Bits returns the size of an element in bits, or 0 if d is none of the types above.
func (d DType) Bits() int {
	if !d.known() {
		return 0
	}
	return types[d].bits
}

func (d DType) known() bool { return d > 0 && int(d) < len(types) }

// typeNamed returns the type of a name in a file.
func typeNamed(name string) (DType, bool) {
	for d := Bool; d.known(); d++ {
		if types[d].name == name {
			return d, true
		}
	}
	return 0, false
}
