//go:build amd64 && !purego

#include "textflag.h"

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

// WHOLE leaves in to eight numbers at an offset over Y8, as integers between -Y9 and Y9. Y10 is
// -Y9.
#define WHOLE(offset, to) \
	VMOVUPS   offset(SI), to \
	VDIVPS    Y8, to, to     \
	VMAXPS    Y10, to, to    \
	VMINPS    Y9, to, to     \
	VCVTPS2DQ to, to

// func int4EncodeAVX2(dst *byte, src *float32, scale, top float32, n int)
//
// The codes of n numbers, a multiple of 32.
TEXT ·int4EncodeAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+16(FP), Y8
	VBROADCASTSS top+20(FP), Y9
	VXORPS Y10, Y10, Y10
	VSUBPS Y9, Y10, Y10
	VMOVDQU order<>(SB), Y15
	VPBROADCASTD nibble<>(SB), Y14
	VPBROADCASTD joint<>(SB), Y13

loop:
	WHOLE(0, Y1)
	WHOLE(32, Y2)
	WHOLE(64, Y3)
	WHOLE(96, Y4)
	VPACKSSDW  Y2, Y1, Y1
	VPACKSSDW  Y4, Y3, Y3
	VPACKSSWB  Y3, Y1, Y1
	VPERMD     Y1, Y15, Y1
	VPAND      Y14, Y1, Y1
	VPMADDUBSW Y13, Y1, Y1
	VPACKUSWB  Y1, Y1, Y1
	VPERMQ     $0x08, Y1, Y1
	VMOVDQU    X1, (DI)
	ADDQ $128, SI
	ADDQ $16, DI
	SUBQ $32, CX
	JNZ  loop
	VZEROUPPER
	RET

// INTEGERS reads eight codes at an offset of SI to an offset of DI, times Y0.
#define INTEGERS(from, to) \
	VPBROADCASTD from(SI), Y1 \
	VPSLLVD   Y15, Y1, Y1     \
	VPSRAD    $28, Y1, Y1     \
	VCVTDQ2PS Y1, Y1          \
	VMULPS    Y1, Y0, Y1      \
	VMOVUPS   Y1, to(DI)

// func int4DecodeAVX2(dst *float32, src *byte, unit float32, n int)
//
// n blocks of 64 numbers, times unit.
TEXT ·int4DecodeAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	VBROADCASTSS unit+16(FP), Y14
	MOVQ n+24(FP), CX
	VMOVDQU raise<>(SB), Y15

loop:
	VBROADCASTSS (SI), Y0
	VMULPS Y14, Y0, Y0
	INTEGERS(4, 0)
	INTEGERS(8, 32)
	INTEGERS(12, 64)
	INTEGERS(16, 96)
	INTEGERS(20, 128)
	INTEGERS(24, 160)
	INTEGERS(28, 192)
	INTEGERS(32, 224)
	ADDQ $256, DI
	ADDQ $36, SI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
