//go:build amd64 && !purego

#include "textflag.h"

// PAIR adds to a part of x, signs turned around, the one eight parts on.
#define PAIR(x, y, s, t, sum) \
	VMOVUPS x, sum; VMOVUPS y, Y8; VXORPS s, sum, sum; VXORPS t, Y8, Y8; VADDPS Y8, sum, sum

// func foldAVX2(dst, src *float32, signs *uint32, n int)
TEXT ·foldAVX2(SB), NOSPLIT, $0-32
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
	PAIR((SI), (R11), (DX), (BX), Y0)
	PAIR((SI)(R8*1), (R11)(R8*1), (DX)(R8*1), (BX)(R8*1), Y1)
	PAIR((SI)(R8*2), (R11)(R8*2), (DX)(R8*2), (BX)(R8*2), Y2)
	PAIR((SI)(R9*1), (R11)(R9*1), (DX)(R9*1), (BX)(R9*1), Y3)
	PAIR((R10), (R12), (R13), (AX), Y4)
	PAIR((R10)(R8*1), (R12)(R8*1), (R13)(R8*1), (AX)(R8*1), Y5)
	PAIR((R10)(R8*2), (R12)(R8*2), (R13)(R8*2), (AX)(R8*2), Y6)
	PAIR((R10)(R9*1), (R12)(R9*1), (R13)(R9*1), (AX)(R9*1), Y7)
	VADDPS Y4, Y0, Y0
	VADDPS Y5, Y1, Y1
	VADDPS Y6, Y2, Y2
	VADDPS Y7, Y3, Y3
	VADDPS Y2, Y0, Y0
	VADDPS Y3, Y1, Y1
	VADDPS Y1, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $32, CX
	JNZ  loop
	VZEROUPPER
	RET
