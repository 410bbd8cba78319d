//go:build amd64 && !purego

#include "textflag.h"

DATA magnitude<>+0(SB)/4, $0x7fffffff
GLOBL magnitude<>(SB), RODATA|NOPTR, $4
DATA nibble<>+0(SB)/4, $0x0f0f0f0f
GLOBL nibble<>(SB), RODATA|NOPTR, $4
DATA joint<>+0(SB)/4, $0x10011001 // the bytes 1 and 16
GLOBL joint<>(SB), RODATA|NOPTR, $4

// Where packs of words leave four numbers each.
DATA order<>+0(SB)/4, $0
DATA order<>+4(SB)/4, $4
DATA order<>+8(SB)/4, $1
DATA order<>+12(SB)/4, $5
DATA order<>+16(SB)/4, $2
DATA order<>+20(SB)/4, $6
DATA order<>+24(SB)/4, $3
DATA order<>+28(SB)/4, $7
GLOBL order<>(SB), RODATA|NOPTR, $32

// By how much each of eight codes in four bytes must go up to be the first.
DATA raise<>+0(SB)/4, $28
DATA raise<>+4(SB)/4, $24
DATA raise<>+8(SB)/4, $20
DATA raise<>+12(SB)/4, $16
DATA raise<>+16(SB)/4, $12
DATA raise<>+20(SB)/4, $8
DATA raise<>+24(SB)/4, $4
DATA raise<>+28(SB)/4, $0
GLOBL raise<>(SB), RODATA|NOPTR, $32

// ABOVE counts in to where a magnitude reaches the threshold in Y0.
#define ABOVE(number, to) \
	VCMPPS $2, number, Y0, Y9 \
	VPSUBD Y9, to, to

// func codes4AVX2(dst *byte, src *float32, least *float32, count, n int)
//
// The codes of n numbers, a multiple of 32, by count thresholds.
TEXT ·codes4AVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ least+16(FP), R8
	MOVQ count+24(FP), R9
	MOVQ n+32(FP), CX
	VPBROADCASTD magnitude<>(SB), Y15
	VPBROADCASTD nibble<>(SB), Y14
	VPBROADCASTD joint<>(SB), Y13
	VMOVDQU order<>(SB), Y12

loop:
	VPAND (SI), Y15, Y1
	VPAND 32(SI), Y15, Y2
	VPAND 64(SI), Y15, Y3
	VPAND 96(SI), Y15, Y4
	VPXOR Y5, Y5, Y5
	VPXOR Y6, Y6, Y6
	VPXOR Y7, Y7, Y7
	VPXOR Y8, Y8, Y8
	XORQ  AX, AX

threshold:
	VBROADCASTSS (R8)(AX*4), Y0
	ABOVE(Y1, Y5)
	ABOVE(Y2, Y6)
	ABOVE(Y3, Y7)
	ABOVE(Y4, Y8)
	INCQ AX
	CMPQ AX, R9
	JB   threshold

	VPSIGND (SI), Y5, Y5
	VPSIGND 32(SI), Y6, Y6
	VPSIGND 64(SI), Y7, Y7
	VPSIGND 96(SI), Y8, Y8
	VPACKSSDW  Y6, Y5, Y5
	VPACKSSDW  Y8, Y7, Y7
	VPACKSSWB  Y7, Y5, Y5
	VPERMD     Y5, Y12, Y5
	VPAND      Y14, Y5, Y5
	VPMADDUBSW Y13, Y5, Y5
	VPACKUSWB  Y5, Y5, Y5
	VPERMQ     $0x08, Y5, Y5
	VMOVDQU    X5, (DI)
	ADDQ $128, SI
	ADDQ $16, DI
	SUBQ $32, CX
	JNZ  loop
	VZEROUPPER
	RET

// func values4AVX2(dst *float32, src *byte, values *float32, n int)
//
// The values of n codes, a multiple of 8, in a table of 16.
TEXT ·values4AVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ values+16(FP), R8
	MOVQ n+24(FP), CX
	VMOVDQU raise<>(SB), Y15
	VMOVUPS (R8), Y14
	VMOVUPS 32(R8), Y13

loop:
	VPBROADCASTD (SI), Y0
	VPSLLVD   Y15, Y0, Y0
	VPSRLD    $28, Y0, Y1
	VPERMPS   Y14, Y1, Y2
	VPERMPS   Y13, Y1, Y3
	VBLENDVPS Y0, Y3, Y2, Y2
	VMOVUPS   Y2, (DI)
	ADDQ $32, DI
	ADDQ $4, SI
	SUBQ $8, CX
	JNZ  loop
	VZEROUPPER
	RET

// func leastAVX2(src *float32, n int) uint32
//
// The least of the bits of n magnitudes, a multiple of 8, shifted left and less 1.
TEXT ·leastAVX2(SB), NOSPLIT, $0-20
	MOVQ src+0(FP), SI
	MOVQ n+8(FP), CX
	VPCMPEQD Y15, Y15, Y15
	VMOVDQA  Y15, Y0

loop:
	VMOVDQU (SI), Y1
	VPSLLD  $1, Y1, Y1
	VPADDD  Y15, Y1, Y1
	VPMINUD Y1, Y0, Y0
	ADDQ $32, SI
	SUBQ $8, CX
	JNZ  loop
	VEXTRACTI128 $1, Y0, X1
	VPMINUD X1, X0, X0
	VPSHUFD $0x4e, X0, X1
	VPMINUD X1, X0, X0
	VPSHUFD $0xb1, X0, X1
	VPMINUD X1, X0, X0
	VMOVD   X0, AX
	MOVL    AX, ret+16(FP)
	VZEROUPPER
	RET
