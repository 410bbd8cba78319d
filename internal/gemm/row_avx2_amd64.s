//go:build amd64 && !purego

#include "textflag.h"
#include "tile_amd64.h"

#define SUM2(a, x, y) \
	VBROADCASTSS a, Y2 \
	VMULPS       Y0, Y2, Y3 \
	VMULPS       Y1, Y2, Y2 \
	VADDPS       Y3, x, x \
	VADDPS       Y2, y, y

#define FROM2(x, y) \
	VMOVUPS (R13), x   \
	VMOVUPS 32(R13), y \
	ADDQ    DX, R13

#define PLUS2(x, y) \
	VADDPS (R13), x, x   \
	VADDPS 32(R13), y, y \
	ADDQ   DX, R13

#define TO2(x, y) \
	VMOVUPS x, (R13)   \
	VMOVUPS y, 32(R13) \
	ADDQ    DX, R13

// tile6x16AVX2 for one panel of b after the other. Registers as there, and R14 = the panel of b, R12 = step in bytes, R15 = panels to do.
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
	FROM2(Y4, Y5)
	FROM2(Y6, Y7)
	FROM2(Y8, Y9)
	FROM2(Y10, Y11)
	FROM2(Y12, Y13)
	FROM2(Y14, Y15)
	JMP  loop

zero:
	ZERO4(Y4, Y5, Y6, Y7)
	ZERO4(Y8, Y9, Y10, Y11)
	ZERO4(Y12, Y13, Y14, Y15)

loop:
	VMOVUPS (BX), Y0
	VMOVUPS 32(BX), Y1
	SUM2(A0, Y4, Y5)
	SUM2(A1, Y6, Y7)
	SUM2(A2, Y8, Y9)
	SUM2(A3, Y10, Y11)
	SUM2(A4, Y12, Y13)
	SUM2(A5, Y14, Y15)
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
	TO2(Y4, Y5)
	TO2(Y6, Y7)
	TO2(Y8, Y9)
	TO2(Y10, Y11)
	TO2(Y12, Y13)
	TO2(Y14, Y15)
	ADDQ $64, DI
	ADDQ R12, R14
	DECQ R15
	JNZ  panel
	VZEROUPPER
	RET

// func spreadAVX2(dst, row *float32, panels, step int)
TEXT ·spreadAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ row+8(FP), SI
	MOVQ panels+16(FP), CX
	MOVQ step+24(FP), DX
	SHLQ $2, DX

next:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	ADDQ    $64, SI
	ADDQ    DX, DI
	DECQ    CX
	JNZ     next
	VZEROUPPER
	RET
