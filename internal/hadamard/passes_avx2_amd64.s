//go:build amd64 && !purego

#include "textflag.h"

// BF puts a+b into s and a-b into b.
#define BF(a, b, s) \
	VADDPS b, a, s; VSUBPS b, a, b

// BUTTERFLIES2 transforms Y0 to Y1, which end in other registers than they began: see the stores
// after it.
#define BUTTERFLIES2 \
	BF(Y0, Y1, Y2)

#define BUTTERFLIES4 \
	BF(Y0, Y2, Y4); BF(Y1, Y3, Y0); BF(Y4, Y0, Y1); BF(Y2, Y3, Y4)

#define BUTTERFLIES8 \
	BF(Y0, Y4, Y8); BF(Y1, Y5, Y0); BF(Y2, Y6, Y1); BF(Y3, Y7, Y2) \
	BF(Y8, Y1, Y3); BF(Y0, Y2, Y8); BF(Y4, Y6, Y0); BF(Y5, Y7, Y4) \
	BF(Y3, Y8, Y5); BF(Y1, Y2, Y3); BF(Y0, Y4, Y1); BF(Y6, Y7, Y0)


// func signed2AVX2(dst, src *float32, signs *uint32, n int)
TEXT ·signed2AVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ signs+16(FP), DX
	MOVQ n+24(FP), R8
	SHLQ $1, R8 // bytes between the parts
	MOVQ R8, CX

loop:
	VMOVUPS (SI), Y0
	VMOVUPS (SI)(R8*1), Y1
	VXORPS (DX), Y0, Y0
	VXORPS (DX)(R8*1), Y1, Y1
	BUTTERFLIES2
	VMOVUPS Y2, (DI)
	VMOVUPS Y1, (DI)(R8*1)
	ADDQ $32, SI
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $32, CX
	JNZ  loop
	VZEROUPPER
	RET

// func signed4AVX2(dst, src *float32, signs *uint32, n int)
TEXT ·signed4AVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ signs+16(FP), DX
	MOVQ n+24(FP), R8
	// R8 is also the bytes between the parts
	LEAQ (R8)(R8*2), R9
	MOVQ R8, CX

loop:
	VMOVUPS (SI), Y0
	VMOVUPS (SI)(R8*1), Y1
	VMOVUPS (SI)(R8*2), Y2
	VMOVUPS (SI)(R9*1), Y3
	VXORPS (DX), Y0, Y0
	VXORPS (DX)(R8*1), Y1, Y1
	VXORPS (DX)(R8*2), Y2, Y2
	VXORPS (DX)(R9*1), Y3, Y3
	BUTTERFLIES4
	VMOVUPS Y1, (DI)
	VMOVUPS Y0, (DI)(R8*1)
	VMOVUPS Y4, (DI)(R8*2)
	VMOVUPS Y3, (DI)(R9*1)
	ADDQ $32, SI
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $32, CX
	JNZ  loop
	VZEROUPPER
	RET

// func signed8AVX2(dst, src *float32, signs *uint32, n int)
TEXT ·signed8AVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ signs+16(FP), DX
	MOVQ n+24(FP), R8
	SHRQ $1, R8 // bytes between the parts
	LEAQ (R8)(R8*2), R9
	MOVQ R8, CX

loop:
	LEAQ (SI)(R8*4), R10
	VMOVUPS (SI), Y0
	VMOVUPS (SI)(R8*1), Y1
	VMOVUPS (SI)(R8*2), Y2
	VMOVUPS (SI)(R9*1), Y3
	VMOVUPS (R10), Y4
	VMOVUPS (R10)(R8*1), Y5
	VMOVUPS (R10)(R8*2), Y6
	VMOVUPS (R10)(R9*1), Y7
	LEAQ (DX)(R8*4), R10
	VXORPS (DX), Y0, Y0
	VXORPS (DX)(R8*1), Y1, Y1
	VXORPS (DX)(R8*2), Y2, Y2
	VXORPS (DX)(R9*1), Y3, Y3
	VXORPS (R10), Y4, Y4
	VXORPS (R10)(R8*1), Y5, Y5
	VXORPS (R10)(R8*2), Y6, Y6
	VXORPS (R10)(R9*1), Y7, Y7
	BUTTERFLIES8
	LEAQ (DI)(R8*4), R10
	VMOVUPS Y5, (DI)
	VMOVUPS Y8, (DI)(R8*1)
	VMOVUPS Y3, (DI)(R8*2)
	VMOVUPS Y2, (DI)(R9*1)
	VMOVUPS Y1, (R10)
	VMOVUPS Y4, (R10)(R8*1)
	VMOVUPS Y0, (R10)(R8*2)
	VMOVUPS Y7, (R10)(R9*1)
	ADDQ $32, SI
	ADDQ $32, DI
	ADDQ $32, DX
	SUBQ $32, CX
	JNZ  loop
	VZEROUPPER
	RET

// func plain8AVX2(x *float32, n int)
TEXT ·plain8AVX2(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), R8
	MOVQ DI, SI
	SHRQ $1, R8 // bytes between the parts
	LEAQ (R8)(R8*2), R9
	MOVQ R8, CX

loop:
	LEAQ (SI)(R8*4), R10
	VMOVUPS (SI), Y0
	VMOVUPS (SI)(R8*1), Y1
	VMOVUPS (SI)(R8*2), Y2
	VMOVUPS (SI)(R9*1), Y3
	VMOVUPS (R10), Y4
	VMOVUPS (R10)(R8*1), Y5
	VMOVUPS (R10)(R8*2), Y6
	VMOVUPS (R10)(R9*1), Y7
	BUTTERFLIES8
	LEAQ (DI)(R8*4), R10
	VMOVUPS Y5, (DI)
	VMOVUPS Y8, (DI)(R8*1)
	VMOVUPS Y3, (DI)(R8*2)
	VMOVUPS Y2, (DI)(R9*1)
	VMOVUPS Y1, (R10)
	VMOVUPS Y4, (R10)(R8*1)
	VMOVUPS Y0, (R10)(R8*2)
	VMOVUPS Y7, (R10)(R9*1)
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $32, CX
	JNZ  loop
	VZEROUPPER
	RET
