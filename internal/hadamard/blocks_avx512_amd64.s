//go:build amd64 && !purego

#include "textflag.h"

// Lanes that take a sum have 1 here and lanes that take a difference -1, for strides 8, 4, 2 and 1.
DATA turn<>+0(SB)/8, $0x3f8000003f800000
DATA turn<>+8(SB)/8, $0x3f8000003f800000
DATA turn<>+16(SB)/8, $0x3f8000003f800000
DATA turn<>+24(SB)/8, $0x3f8000003f800000
DATA turn<>+32(SB)/8, $0xbf800000bf800000
DATA turn<>+40(SB)/8, $0xbf800000bf800000
DATA turn<>+48(SB)/8, $0xbf800000bf800000
DATA turn<>+56(SB)/8, $0xbf800000bf800000

DATA turn<>+64(SB)/8, $0x3f8000003f800000
DATA turn<>+72(SB)/8, $0x3f8000003f800000
DATA turn<>+80(SB)/8, $0xbf800000bf800000
DATA turn<>+88(SB)/8, $0xbf800000bf800000
DATA turn<>+96(SB)/8, $0x3f8000003f800000
DATA turn<>+104(SB)/8, $0x3f8000003f800000
DATA turn<>+112(SB)/8, $0xbf800000bf800000
DATA turn<>+120(SB)/8, $0xbf800000bf800000

DATA turn<>+128(SB)/8, $0x3f8000003f800000
DATA turn<>+136(SB)/8, $0xbf800000bf800000
DATA turn<>+144(SB)/8, $0x3f8000003f800000
DATA turn<>+152(SB)/8, $0xbf800000bf800000
DATA turn<>+160(SB)/8, $0x3f8000003f800000
DATA turn<>+168(SB)/8, $0xbf800000bf800000
DATA turn<>+176(SB)/8, $0x3f8000003f800000
DATA turn<>+184(SB)/8, $0xbf800000bf800000

DATA turn<>+192(SB)/8, $0xbf8000003f800000
GLOBL turn<>(SB), RODATA|NOPTR, $200

// Each of these exchanges the lanes of a at one stride and adds a to them, or subtracts it: the
// product by ±1 is exact, so the fused result is the sum's own.
#define EIGHT(a, t) \
	VSHUFF32X4 $0x4E, a, a, t; VFMADD213PS t, Z28, a
#define FOUR(a, t) \
	VSHUFF32X4 $0xB1, a, a, t; VFMADD213PS t, Z29, a
#define TWO(a, t) \
	VPERMILPS $0x4E, a, t; VFMADD213PS t, Z30, a
#define ONE(a, t) \
	VPERMILPS $0xB1, a, t; VFMADD213PS t, Z31, a

// func blocksAVX512(x *float32, n int)
TEXT ·blocksAVX512(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	VMOVUPS turn<>+0(SB), Z28
	VMOVUPS turn<>+64(SB), Z29
	VMOVUPS turn<>+128(SB), Z30
	VBROADCASTSD turn<>+192(SB), Z31

loop:
	VMOVUPS (DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	VADDPS  Z2, Z0, Z4
	VSUBPS  Z2, Z0, Z2
	VADDPS  Z3, Z1, Z5
	VSUBPS  Z3, Z1, Z3
	VADDPS  Z5, Z4, Z0
	VSUBPS  Z5, Z4, Z1
	VADDPS  Z3, Z2, Z4
	VSUBPS  Z3, Z2, Z3
	EIGHT(Z0, Z5)
	EIGHT(Z1, Z6)
	EIGHT(Z4, Z7)
	EIGHT(Z3, Z8)
	FOUR(Z0, Z5)
	FOUR(Z1, Z6)
	FOUR(Z4, Z7)
	FOUR(Z3, Z8)
	TWO(Z0, Z5)
	TWO(Z1, Z6)
	TWO(Z4, Z7)
	TWO(Z3, Z8)
	ONE(Z0, Z5)
	ONE(Z1, Z6)
	ONE(Z4, Z7)
	ONE(Z3, Z8)
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z4, 128(DI)
	VMOVUPS Z3, 192(DI)
	ADDQ $256, DI
	SUBQ $64, CX
	JNZ  loop
	VZEROUPPER
	RET

// func halveAVX512(dst, src *float32, signs *uint32, n int)
TEXT ·halveAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ signs+16(FP), DX
	MOVQ n+24(FP), R8
	SHLQ $1, R8 // bytes of half
	MOVQ R8, CX

loop:
	VMOVUPS (SI), Z0
	VMOVUPS 64(SI), Z1
	VMOVUPS (SI)(R8*1), Z2
	VMOVUPS 64(SI)(R8*1), Z3
	VPXORD  (DX), Z0, Z0
	VPXORD  64(DX), Z1, Z1
	VPXORD  (DX)(R8*1), Z2, Z2
	VPXORD  64(DX)(R8*1), Z3, Z3
	VADDPS  Z2, Z0, Z0
	VADDPS  Z3, Z1, Z1
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ $128, SI
	ADDQ $128, DI
	ADDQ $128, DX
	SUBQ $128, CX
	JNZ  loop
	VZEROUPPER
	RET
