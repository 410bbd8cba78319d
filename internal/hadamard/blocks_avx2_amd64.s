//go:build amd64 && !purego

#include "textflag.h"

// Lanes that take a sum have 1 here and lanes that take a difference -1, for strides 4, 2 and 1.
DATA turn<>+0(SB)/8, $0x3f8000003f800000
DATA turn<>+8(SB)/8, $0x3f8000003f800000
DATA turn<>+16(SB)/8, $0xbf800000bf800000
DATA turn<>+24(SB)/8, $0xbf800000bf800000
DATA turn<>+32(SB)/8, $0x3f8000003f800000
DATA turn<>+40(SB)/8, $0xbf800000bf800000
DATA turn<>+48(SB)/8, $0x3f8000003f800000
DATA turn<>+56(SB)/8, $0xbf800000bf800000
DATA turn<>+64(SB)/8, $0xbf8000003f800000
GLOBL turn<>(SB), RODATA|NOPTR, $72

#define BF(a, b, s) \
	VADDPS b, a, s; VSUBPS b, a, b

// Each of these exchanges the lanes of a at one stride and adds a to them, or subtracts it: the
// product by ±1 is exact, so the fused result is the sum's own.
#define FOUR(a) \
	VPERM2F128 $1, a, a, Y9; VFMADD213PS Y9, Y13, a
#define TWO(a) \
	VPERMILPS $0x4E, a, Y10; VFMADD213PS Y10, Y14, a
#define ONE(a) \
	VPERMILPS $0xB1, a, Y11; VFMADD213PS Y11, Y15, a

// func blocksAVX2(x *float32, n int)
TEXT ·blocksAVX2(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	VMOVUPS turn<>+0(SB), Y13
	VMOVUPS turn<>+32(SB), Y14
	VBROADCASTSD turn<>+64(SB), Y15

loop:
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS 64(DI), Y2
	VMOVUPS 96(DI), Y3
	VMOVUPS 128(DI), Y4
	VMOVUPS 160(DI), Y5
	VMOVUPS 192(DI), Y6
	VMOVUPS 224(DI), Y7
	BF(Y0, Y4, Y8)
	BF(Y1, Y5, Y0)
	BF(Y2, Y6, Y1)
	BF(Y3, Y7, Y2)
	BF(Y8, Y1, Y3)
	BF(Y0, Y2, Y8)
	BF(Y4, Y6, Y0)
	BF(Y5, Y7, Y4)
	BF(Y3, Y8, Y5)
	BF(Y1, Y2, Y3)
	BF(Y0, Y4, Y1)
	BF(Y6, Y7, Y0)
	FOUR(Y5)
	FOUR(Y8)
	FOUR(Y3)
	FOUR(Y2)
	FOUR(Y1)
	FOUR(Y4)
	FOUR(Y0)
	FOUR(Y7)
	TWO(Y5)
	TWO(Y8)
	TWO(Y3)
	TWO(Y2)
	TWO(Y1)
	TWO(Y4)
	TWO(Y0)
	TWO(Y7)
	ONE(Y5)
	ONE(Y8)
	ONE(Y3)
	ONE(Y2)
	ONE(Y1)
	ONE(Y4)
	ONE(Y0)
	ONE(Y7)
	VMOVUPS Y5, (DI)
	VMOVUPS Y8, 32(DI)
	VMOVUPS Y3, 64(DI)
	VMOVUPS Y2, 96(DI)
	VMOVUPS Y1, 128(DI)
	VMOVUPS Y4, 160(DI)
	VMOVUPS Y0, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ $256, DI
	SUBQ $64, CX
	JNZ  loop
	VZEROUPPER
	RET

// func halveAVX2(dst, src *float32, signs *uint32, n int)
TEXT ·halveAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ signs+16(FP), DX
	MOVQ n+24(FP), R8
	SHLQ $1, R8 // bytes of half
	MOVQ R8, CX

loop:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVUPS (SI)(R8*1), Y2
	VMOVUPS 32(SI)(R8*1), Y3
	VXORPS  (DX), Y0, Y0
	VXORPS  32(DX), Y1, Y1
	VXORPS  (DX)(R8*1), Y2, Y2
	VXORPS  32(DX)(R8*1), Y3, Y3
	VADDPS  Y2, Y0, Y0
	VADDPS  Y3, Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $64, CX
	JNZ  loop
	VZEROUPPER
	RET
