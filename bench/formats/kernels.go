package formats

import (
	"encoding/binary"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// decodedByKernels is what the code of a format becomes in a row that travels, if rows have it.
func decodedByKernels(name string, code int) (float32, bool) {
	const columns = 64 // so that kernels take part
	row := make([]float32, columns)
	switch name {
	case "E4M3FN":
		src := make([]byte, quant.MXFP8.Bytes(columns))
		src[0], src[1] = 127, byte(code)
		quant.MXFP8.Decode(row, src)
	case "E2M1":
		src := make([]byte, quant.MXFP4.Bytes(columns))
		src[0], src[1] = 127, byte(code)
		quant.MXFP4.Decode(row, src)
	case "E8M0":
		src := make([]byte, quant.MXFP4.Bytes(columns))
		src[0], src[1] = byte(code), 2
		quant.MXFP4.Decode(row, src)
	default:
		return 0, false
	}
	return row[0], true
}

// encodedByKernels is the code that v gets in a row that travels, if there it has no scale or one
// of 1.
func encodedByKernels(name string, v float32) (answer, bool) {
	row := make([]float32, 64)
	row[0] = v
	switch {
	case name == "BF16":
		return answer{code: int(binary.LittleEndian.Uint16(encode(quant.BF16, row)))}, true
	case name == "FP16":
		return answer{code: int(binary.LittleEndian.Uint16(encode(quant.FP16, row)))}, true
	case name == "E4M3FN" && abs(v) <= 448:
		row[1] = 448
		return answer{code: int(encode(quant.MXFP8, row)[1])}, true
	case name == "E2M1" && abs(v) <= 6:
		row[1] = 6
		return answer{code: int(encode(quant.MXFP4, row)[1] & 15)}, true
	}
	return answer{}, false
}

func encode(f quant.Format, row []float32) []byte {
	b := make([]byte, f.Bytes(len(row)))
	f.Encode(b, row)
	return b
}

func decode(f quant.Format, src []byte, n int) []float32 {
	row := make([]float32, n)
	f.Decode(row, src)
	return row
}
