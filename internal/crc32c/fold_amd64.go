//go:build !purego

package crc32c

import (
	"hash/crc32"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// What the folds in registers of 512 and of 256 bits need.
const (
	needs512 = cpu.AVX512F | cpu.AVX512VPCLMULQDQ
	needs256 = cpu.AVX2 | cpu.PCLMULQDQ | cpu.VPCLMULQDQ
)

// width returns the number of bits of the registers that long buffers are folded in, or 0.
func width() int {
	switch {
	case cpu.Has(needs512):
		return 512
	case cpu.Has(needs256):
		return 256
	}
	return 0
}

const (
	foldBytes = 256
	// foldAbove is the length from which folding pays, with the 64 bytes that it leaves over.
	foldAbove = 32 * foldBytes
)

// fold reduces blocks times 256 bytes at p, at least one block, to 64 bytes with the same checksum.
// state is the inverted checksum of what came before.
//
// Four registers of four 128-bit lanes each hold a remainder of all bytes so far, as a polynomial
// over GF(2) with reflected bits. A step multiplies a lane's halves by x^(2048+31) and x^(2048-33)
// modulo the checksum's polynomial, which moves it 256 bytes on, and adds the next bytes. (Gopal,
// Ozturk et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel
// 2009.)
//
//go:noescape
func fold(p *byte, blocks int, state uint32, rest *[64]byte)

// fold256 is fold in eight registers of two lanes, for processors that have no wider ones.
//
//go:noescape
func fold256(p *byte, blocks int, state uint32, rest *[64]byte)

// updateLong takes most of a long p into crc, and returns what is left of it.
func updateLong(crc uint32, p []byte) (uint32, []byte) {
	bits := width()
	if bits == 0 || len(p) < foldAbove {
		return crc, p
	}
	var rest [64]byte
	if blocks := len(p) / foldBytes; bits == 512 {
		fold(&p[0], blocks, ^crc, &rest)
	} else {
		fold256(&p[0], blocks, ^crc, &rest)
	}
	return crc32.Update(^uint32(0), castagnoli, rest[:]), p[len(p)/foldBytes*foldBytes:]
}
