package quant

// LargestE4M3 is the largest number of E4M3.
const LargestE4M3 = largestE4M3

// EncodeE4M3 writes a code for each number, to nearest; what is above LargestE4M3 in size becomes
// that.
func EncodeE4M3(codes []byte, x []float32) { FP8.encodeCodes(codes, x, 1, largestE4M3) }

// DecodeE4M3 reads a number for each code.
func DecodeE4M3(x []float32, codes []byte) { FP8.decodeCodes(x, codes, 1) }

// Largest returns the largest magnitude of x, 0 if there are none, and a NaN if there is one.
func Largest(x []float32) float32 { return largestIn(x) }
