//go:build amd64 && !purego

#include "textflag.h"

// PAIR adds to a part of x, signs turned around, the one eight parts on.
#define PAIR(x, y, s, t, sum) \
	VMOVUPS x, sum; VMOVUPS y, Z8; VPXORD s, sum, sum; VPXORD t, Z8, Z8; VADDPS Z8, sum, sum

// func foldAVX512(dst, src *float32, signs *uint32, n int)
TEXT ·foldAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ signs+16(FP), DX
	MOVQ n+24(FP), R8
	SHRQ $2, R8 // bytes of a part
	LEAQ (R8)(R8*2), R9
	MOVQ R8, CX

loop:
	LEAQ (SI)(R8*4), R10
	LEAQ (SI)(R8*8), R11
	LEAQ (R10)(R8*8), R12
	LEAQ (DX)(R8*4), R13
	LEAQ (DX)(R8*8), BX
	LEAQ (R13)(R8*8), AX
	PAIR((SI), (R11), (DX), (BX), Z0)
	PAIR((SI)(R8*1), (R11)(R8*1), (DX)(R8*1), (BX)(R8*1), Z1)
	PAIR((SI)(R8*2), (R11)(R8*2), (DX)(R8*2), (BX)(R8*2), Z2)
	PAIR((SI)(R9*1), (R11)(R9*1), (DX)(R9*1), (BX)(R9*1), Z3)
	PAIR((R10), (R12), (R13), (AX), Z4)
	PAIR((R10)(R8*1), (R12)(R8*1), (R13)(R8*1), (AX)(R8*1), Z5)
	PAIR((R10)(R8*2), (R12)(R8*2), (R13)(R8*2), (AX)(R8*2), Z6)
	PAIR((R10)(R9*1), (R12)(R9*1), (R13)(R9*1), (AX)(R9*1), Z7)
	VADDPS Z4, Z0, Z0
	VADDPS Z5, Z1, Z1
	VADDPS Z6, Z2, Z2
	VADDPS Z7, Z3, Z3
	VADDPS Z2, Z0, Z0
	VADDPS Z3, Z1, Z1
	VADDPS Z1, Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $64, CX
	JNZ  loop
	VZEROUPPER
	RET
