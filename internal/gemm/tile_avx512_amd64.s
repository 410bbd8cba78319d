//go:build amd64 && !purego

#include "textflag.h"
#include "tile_amd64.h"

#define GET2(x, y) \
	VMOVUPS (R13), x   \
	VMOVUPS 64(R13), y \
	ADDQ    DX, R13

#define PUT2(x, y) \
	VMOVUPS x, (R13)   \
	VMOVUPS y, 64(R13) \
	ADDQ    DX, R13

// MAC2 adds a row's element of a times the 32 elements of b in Z0 and Z1 to the row's sums x and y.
// MAC1 does one half. Loading the element with each product instead of once for both makes Zen 4
// half as fast again: there a VBROADCASTSS of 512 bits takes a slot of the arithmetic units.
#define MAC2(a, x, y) \
	VMULPS.BCST a, Z0, Z2 \
	VMULPS.BCST a, Z1, Z3 \
	VADDPS      Z2, x, x  \
	VADDPS      Z3, y, y

#define MAC1(a, x) \
	VMULPS.BCST a, Z0, Z2 \
	VADDPS      Z2, x, x

#define MAC1Y(a, x) \
	VMULPS.BCST a, Y0, Y2 \
	VADDPS      Y2, x, x

// Sums of row i in Z{8+2i} and Z{9+2i}.
// func tile12x32AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile12x32AVX512(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET2(Z8, Z9)
	GET2(Z10, Z11)
	GET2(Z12, Z13)
	GET2(Z14, Z15)
	GET2(Z16, Z17)
	GET2(Z18, Z19)
	GET2(Z20, Z21)
	GET2(Z22, Z23)
	GET2(Z24, Z25)
	GET2(Z26, Z27)
	GET2(Z28, Z29)
	GET2(Z30, Z31)
	JMP  loop

zero:
	ZERO4(Z8, Z9, Z10, Z11)
	ZERO4(Z12, Z13, Z14, Z15)
	ZERO4(Z16, Z17, Z18, Z19)
	ZERO4(Z20, Z21, Z22, Z23)
	ZERO4(Z24, Z25, Z26, Z27)
	ZERO4(Z28, Z29, Z30, Z31)

loop:
	VMOVUPS (BX), Z0
	VMOVUPS 64(BX), Z1
	MAC2(A0, Z8, Z9)
	MAC2(A1, Z10, Z11)
	MAC2(A2, Z12, Z13)
	MAC2(A3, Z14, Z15)
	MAC2(A4, Z16, Z17)
	MAC2(A5, Z18, Z19)
	MAC2(A6, Z20, Z21)
	MAC2(A7, Z22, Z23)
	MAC2(A8, Z24, Z25)
	MAC2(A9, Z26, Z27)
	MAC2(A10, Z28, Z29)
	MAC2(A11, Z30, Z31)
	NEXT6
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT2(Z8, Z9)
	PUT2(Z10, Z11)
	PUT2(Z12, Z13)
	PUT2(Z14, Z15)
	PUT2(Z16, Z17)
	PUT2(Z18, Z19)
	PUT2(Z20, Z21)
	PUT2(Z22, Z23)
	PUT2(Z24, Z25)
	PUT2(Z26, Z27)
	PUT2(Z28, Z29)
	PUT2(Z30, Z31)
	VZEROUPPER
	RET

// Sums of row i in Z{8+2i} and Z{9+2i}.
// func tile8x32AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile8x32AVX512(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET2(Z8, Z9)
	GET2(Z10, Z11)
	GET2(Z12, Z13)
	GET2(Z14, Z15)
	GET2(Z16, Z17)
	GET2(Z18, Z19)
	GET2(Z20, Z21)
	GET2(Z22, Z23)
	JMP  loop

zero:
	ZERO4(Z8, Z9, Z10, Z11)
	ZERO4(Z12, Z13, Z14, Z15)
	ZERO4(Z16, Z17, Z18, Z19)
	ZERO4(Z20, Z21, Z22, Z23)

loop:
	VMOVUPS (BX), Z0
	VMOVUPS 64(BX), Z1
	MAC2(A0, Z8, Z9)
	MAC2(A1, Z10, Z11)
	MAC2(A2, Z12, Z13)
	MAC2(A3, Z14, Z15)
	MAC2(A4, Z16, Z17)
	MAC2(A5, Z18, Z19)
	MAC2(A6, Z20, Z21)
	MAC2(A7, Z22, Z23)
	NEXT6
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT2(Z8, Z9)
	PUT2(Z10, Z11)
	PUT2(Z12, Z13)
	PUT2(Z14, Z15)
	PUT2(Z16, Z17)
	PUT2(Z18, Z19)
	PUT2(Z20, Z21)
	PUT2(Z22, Z23)
	VZEROUPPER
	RET

// Sums of row i in Z{8+2i} and Z{9+2i}.
// func tile4x32AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile4x32AVX512(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET2(Z8, Z9)
	GET2(Z10, Z11)
	GET2(Z12, Z13)
	GET2(Z14, Z15)
	JMP  loop

zero:
	ZERO4(Z8, Z9, Z10, Z11)
	ZERO4(Z12, Z13, Z14, Z15)

loop:
	VMOVUPS (BX), Z0
	VMOVUPS 64(BX), Z1
	MAC2(A0, Z8, Z9)
	MAC2(A1, Z10, Z11)
	MAC2(A2, Z12, Z13)
	MAC2(A3, Z14, Z15)
	NEXT
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT2(Z8, Z9)
	PUT2(Z10, Z11)
	PUT2(Z12, Z13)
	PUT2(Z14, Z15)
	VZEROUPPER
	RET

// Sums of row i in Z{8+i}.
// func tile12x16AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile12x16AVX512(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET1(Z8)
	GET1(Z9)
	GET1(Z10)
	GET1(Z11)
	GET1(Z12)
	GET1(Z13)
	GET1(Z14)
	GET1(Z15)
	GET1(Z16)
	GET1(Z17)
	GET1(Z18)
	GET1(Z19)
	JMP  loop

zero:
	ZERO4(Z8, Z9, Z10, Z11)
	ZERO4(Z12, Z13, Z14, Z15)
	ZERO4(Z16, Z17, Z18, Z19)

loop:
	VMOVUPS (BX), Z0
	MAC1(A0, Z8)
	MAC1(A1, Z9)
	MAC1(A2, Z10)
	MAC1(A3, Z11)
	MAC1(A4, Z12)
	MAC1(A5, Z13)
	MAC1(A6, Z14)
	MAC1(A7, Z15)
	MAC1(A8, Z16)
	MAC1(A9, Z17)
	MAC1(A10, Z18)
	MAC1(A11, Z19)
	NEXT6
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT1(Z8)
	PUT1(Z9)
	PUT1(Z10)
	PUT1(Z11)
	PUT1(Z12)
	PUT1(Z13)
	PUT1(Z14)
	PUT1(Z15)
	PUT1(Z16)
	PUT1(Z17)
	PUT1(Z18)
	PUT1(Z19)
	VZEROUPPER
	RET

// Sums of row i in Z{8+i}.
// func tile4x16AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile4x16AVX512(SB), NOSPLIT, $0-113
	ARGS
	CMPB load+112(FP), $0
	JEQ  zero
	GET1(Z8)
	GET1(Z9)
	GET1(Z10)
	GET1(Z11)
	JMP  loop

zero:
	ZERO4(Z8, Z9, Z10, Z11)

loop:
	VMOVUPS (BX), Z0
	MAC1(A0, Z8)
	MAC1(A1, Z9)
	MAC1(A2, Z10)
	MAC1(A3, Z11)
	NEXT
	DECQ CX
	JNZ  loop

	MOVQ DI, R13
	PUT1(Z8)
	PUT1(Z9)
	PUT1(Z10)
	PUT1(Z11)
	VZEROUPPER
	RET

// Sums of row i in Y{4+i}.
// func tile12x8AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile12x8AVX512(SB), NOSPLIT, $0-113
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
	MAC1Y(A0, Y4)
	MAC1Y(A1, Y5)
	MAC1Y(A2, Y6)
	MAC1Y(A3, Y7)
	MAC1Y(A4, Y8)
	MAC1Y(A5, Y9)
	MAC1Y(A6, Y10)
	MAC1Y(A7, Y11)
	MAC1Y(A8, Y12)
	MAC1Y(A9, Y13)
	MAC1Y(A10, Y14)
	MAC1Y(A11, Y15)
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
// func tile4x8AVX512(k int, a []float32, rs, cs int, b []float32, bs int, c []float32, ldc int, load bool)
TEXT ·tile4x8AVX512(SB), NOSPLIT, $0-113
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
	MAC1Y(A0, Y4)
	MAC1Y(A1, Y5)
	MAC1Y(A2, Y6)
	MAC1Y(A3, Y7)
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
