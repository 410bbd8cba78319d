//go:build amd64 && !purego

#include "textflag.h"
#include "tile_amd64.h"

#define GET2(x, y) \
	VMOVUPS (R13), x   \
	VMOVUPS 32(R13), y \
	ADDQ    DX, R13

#define PUT2(x, y) \
	VMOVUPS x, (R13)   \
	VMOVUPS y, 32(R13) \
	ADDQ    DX, R13

// MAC2 adds a row's element of a times the 16 elements of b in Y0 and Y1 to the row's sums x and y.
// MAC1 does one half.
#define MAC2(a, x, y) \
	VBROADCASTSS a, Y2 \
	VMULPS       Y0, Y2, Y3 \
	VMULPS       Y1, Y2, Y2 \
	VADDPS       Y3, x, x \
	VADDPS       Y2, y, y

#define MAC1(a, x) \
	VBROADCASTSS a, Y2 \
	VMULPS       Y0, Y2, Y2 \
	VADDPS       Y2, x, x

// PLUS2 adds a row of c to x and y and goes to the next row.
#define PLUS2(x, y) \
	VADDPS (R13), x, x   \
	VADDPS 32(R13), y, y \
	ADDQ   DX, R13

// Sums of row i in Y{4+2i} and Y{5+2i}. Registers as in the tile kernels, but R14 = the panel of b,
// R12 = step in bytes, R15 = panels to do.
// func row6x16AVX2(n, k int, a *float32, rs, cs int, b *float32, bs, step int, c *float32, ldc int, how start)
TEXT ·row6x16AVX2(SB), NOSPLIT, $0-81
	MOVQ n+0(FP), R15
	MOVQ rs+24(FP), SI
	MOVQ cs+32(FP), R8
	MOVQ b+40(FP), R14
	MOVQ bs+48(FP), R9
	MOVQ step+56(FP), R12
	MOVQ c+64(FP), DI
	MOVQ ldc+72(FP), DX
	SHLQ $2, SI
	SHLQ $2, R8
	SHLQ $2, R9
	SHLQ $2, R12
	SHLQ $2, DX
	LEAQ (SI)(SI*2), R10
	LEAQ (SI)(SI*4), R11

panel:
	MOVQ k+8(FP), CX
	MOVQ a+16(FP), AX
	MOVQ R14, BX
	MOVQ DI, R13
	CMPB how+80(FP), $1
	JNE  zero
	GET2(Y4, Y5)
	GET2(Y6, Y7)
	GET2(Y8, Y9)
	GET2(Y10, Y11)
	GET2(Y12, Y13)
	GET2(Y14, Y15)
	JMP  loop

zero:
	ZERO4(Y4, Y5, Y6, Y7)
	ZERO4(Y8, Y9, Y10, Y11)
	ZERO4(Y12, Y13, Y14, Y15)

loop:
	VMOVUPS (BX), Y0
	VMOVUPS 32(BX), Y1
	MAC2(A0, Y4, Y5)
	MAC2(A1, Y6, Y7)
	MAC2(A2, Y8, Y9)
	MAC2(A3, Y10, Y11)
	MAC2(A4, Y12, Y13)
	MAC2(A5, Y14, Y15)
	NEXT
	DECQ CX
	JNZ  loop

	CMPB how+80(FP), $2
	JNE  put
	MOVQ DI, R13
	PLUS2(Y4, Y5)
	PLUS2(Y6, Y7)
	PLUS2(Y8, Y9)
	PLUS2(Y10, Y11)
	PLUS2(Y12, Y13)
	PLUS2(Y14, Y15)

put:
	MOVQ DI, R13
	PUT2(Y4, Y5)
	PUT2(Y6, Y7)
	PUT2(Y8, Y9)
	PUT2(Y10, Y11)
	PUT2(Y12, Y13)
	PUT2(Y14, Y15)
	ADDQ $64, DI
	ADDQ R12, R14
	DECQ R15
	JNZ  panel
	VZEROUPPER
	RET

// Sums of row i in Y{4+2i} and Y{5+2i}.
// func tile2x16AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile2x16AVX2(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET2(Y4, Y5)
	GET2(Y6, Y7)
	JMP  loop

zero:
	ZERO4(Y4, Y5, Y6, Y7)

loop:
	VMOVUPS (BX), Y0
	VMOVUPS 32(BX), Y1
	MAC2(A0, Y4, Y5)
	MAC2(A1, Y6, Y7)
	NEXT
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT2(Y4, Y5)
	PUT2(Y6, Y7)
	VZEROUPPER
	RET

// Sums of row i in Y{4+i}.
// func tile12x8AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile12x8AVX2(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET1(Y4)
	GET1(Y5)
	GET1(Y6)
	GET1(Y7)
	GET1(Y8)
	GET1(Y9)
	GET1(Y10)
	GET1(Y11)
	GET1(Y12)
	GET1(Y13)
	GET1(Y14)
	GET1(Y15)
	JMP  loop

zero:
	ZERO4(Y4, Y5, Y6, Y7)
	ZERO4(Y8, Y9, Y10, Y11)
	ZERO4(Y12, Y13, Y14, Y15)

loop:
	VMOVUPS (BX), Y0
	MAC1(A0, Y4)
	MAC1(A1, Y5)
	MAC1(A2, Y6)
	MAC1(A3, Y7)
	MAC1(A4, Y8)
	MAC1(A5, Y9)
	MAC1(A6, Y10)
	MAC1(A7, Y11)
	MAC1(A8, Y12)
	MAC1(A9, Y13)
	MAC1(A10, Y14)
	MAC1(A11, Y15)
	NEXT6
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT1(Y4)
	PUT1(Y5)
	PUT1(Y6)
	PUT1(Y7)
	PUT1(Y8)
	PUT1(Y9)
	PUT1(Y10)
	PUT1(Y11)
	PUT1(Y12)
	PUT1(Y13)
	PUT1(Y14)
	PUT1(Y15)
	VZEROUPPER
	RET

// Sums of row i in Y{4+i}.
// func tile4x8AVX2(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile4x8AVX2(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET1(Y4)
	GET1(Y5)
	GET1(Y6)
	GET1(Y7)
	JMP  loop

zero:
	ZERO4(Y4, Y5, Y6, Y7)

loop:
	VMOVUPS (BX), Y0
	MAC1(A0, Y4)
	MAC1(A1, Y5)
	MAC1(A2, Y6)
	MAC1(A3, Y7)
	NEXT
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT1(Y4)
	PUT1(Y5)
	PUT1(Y6)
	PUT1(Y7)
	VZEROUPPER
	RET
