//go:build !purego

#include "textflag.h"

// The multipliers of the folds: x^(n+31) and x^(n-33) modulo the Castagnoli polynomial, reflected,
// for a step of n bits.
DATA multipliers<>+0(SB)/8, $0xdcb17aa4  // n = 2048
DATA multipliers<>+8(SB)/8, $0xb9e02b86
DATA multipliers<>+16(SB)/8, $0x740eef02 // n = 512
DATA multipliers<>+24(SB)/8, $0x9e4addf8
GLOBL multipliers<>(SB), RODATA|NOPTR, $32

// STEP moves the remainder R on by what K says and adds the bytes at M.
#define STEP(K, M, R, T) \
	VPCLMULQDQ $0x00, K, R, T \
	VPCLMULQDQ $0x11, K, R, R \
	VPTERNLOGQ $0x96, M, T, R

// func fold(p *byte, blocks int, state uint32, rest *[64]byte)
TEXT ·fold(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ blocks+8(FP), CX
	MOVL state+16(FP), AX
	MOVQ rest+24(FP), DI

	VBROADCASTI32X4 multipliers<>+0(SB), Z8
	VBROADCASTI32X4 multipliers<>+16(SB), Z9

	// The first block; the checksum so far is added to its first four bytes.
	VMOVD     AX, X4
	VPXORQ    (SI), Z4, Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3

loop:
	ADDQ $256, SI
	DECQ CX
	JZ   done
	// The bytes are on their way from memory four blocks ahead: the copy that follows a checksum
	// finds them near.
	PREFETCHT0 1024(SI)
	PREFETCHT0 1088(SI)
	PREFETCHT0 1152(SI)
	PREFETCHT0 1216(SI)
	STEP(Z8, (SI), Z0, Z4)
	STEP(Z8, 64(SI), Z1, Z5)
	STEP(Z8, 128(SI), Z2, Z6)
	STEP(Z8, 192(SI), Z3, Z7)
	JMP loop

done:
	// Three steps of 64 bytes bring the four registers together.
	STEP(Z9, Z1, Z0, Z4)
	STEP(Z9, Z2, Z0, Z5)
	STEP(Z9, Z3, Z0, Z6)
	VMOVDQU64 Z0, (DI)
	VZEROUPPER
	RET

// STEP256 is STEP on registers of half the width, where VPTERNLOGQ is missing.
#define STEP256(K, M, R, T) \
	VPCLMULQDQ $0x00, K, R, T \
	VPCLMULQDQ $0x11, K, R, R \
	VPXOR      T, R, R        \
	VPXOR      M, R, R

// func fold256(p *byte, blocks int, state uint32, rest *[64]byte)
TEXT ·fold256(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ blocks+8(FP), CX
	MOVL state+16(FP), AX
	MOVQ rest+24(FP), DI

	VBROADCASTI128 multipliers<>+0(SB), Y8
	VBROADCASTI128 multipliers<>+16(SB), Y9

	// The first block; the checksum so far is added to its first four bytes.
	VMOVD   AX, X10
	VPXOR   (SI), Y10, Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU 64(SI), Y2
	VMOVDQU 96(SI), Y3
	VMOVDQU 128(SI), Y4
	VMOVDQU 160(SI), Y5
	VMOVDQU 192(SI), Y6
	VMOVDQU 224(SI), Y7

loop:
	ADDQ $256, SI
	DECQ CX
	JZ   done
	// The bytes are on their way from memory eight blocks ahead: out of a cache this is what sets
	// the pace.
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	PREFETCHT0 2176(SI)
	PREFETCHT0 2240(SI)
	STEP256(Y8, (SI), Y0, Y10)
	STEP256(Y8, 32(SI), Y1, Y11)
	STEP256(Y8, 64(SI), Y2, Y12)
	STEP256(Y8, 96(SI), Y3, Y13)
	STEP256(Y8, 128(SI), Y4, Y10)
	STEP256(Y8, 160(SI), Y5, Y11)
	STEP256(Y8, 192(SI), Y6, Y12)
	STEP256(Y8, 224(SI), Y7, Y13)
	JMP loop

done:
	// Three steps of 64 bytes bring the registers, two a step, together.
	STEP256(Y9, Y2, Y0, Y10)
	STEP256(Y9, Y3, Y1, Y11)
	STEP256(Y9, Y4, Y0, Y10)
	STEP256(Y9, Y5, Y1, Y11)
	STEP256(Y9, Y6, Y0, Y10)
	STEP256(Y9, Y7, Y1, Y11)
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	VZEROUPPER
	RET
