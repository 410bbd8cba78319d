//go:build amd64 && !purego

#include "textflag.h"

DATA magnitude4<>+0(SB)/4, $0x7fffffff
GLOBL magnitude4<>(SB), RODATA|NOPTR, $4
DATA finite4<>+0(SB)/4, $0x7f7fffff // the largest finite number
GLOBL finite4<>(SB), RODATA|NOPTR, $4
DATA exponent4<>+0(SB)/4, $0x7f800000
GLOBL exponent4<>(SB), RODATA|NOPTR, $4
DATA sign4<>+0(SB)/4, $0x80000000
GLOBL sign4<>(SB), RODATA|NOPTR, $4
DATA one4<>+0(SB)/4, $0x3f800000
GLOBL one4<>(SB), RODATA|NOPTR, $4
DATA six4<>+0(SB)/4, $0x40c00000
GLOBL six4<>(SB), RODATA|NOPTR, $4
DATA widen4<>+0(SB)/4, $0x0b000000 // 22<<23
GLOBL widen4<>(SB), RODATA|NOPTR, $4
DATA byte4<>+0(SB)/4, $0x000000ff
GLOBL byte4<>(SB), RODATA|NOPTR, $4
DATA pair4<>+0(SB)/4, $0x00100001 // the words 1 and 16
GLOBL pair4<>(SB), RODATA|NOPTR, $4
DATA bias4<>+0(SB)/4, $714 // 42 of the first code and 16·42 of the second
GLOBL bias4<>(SB), RODATA|NOPTR, $4

// Of scales in E4M3.
DATA least4<>+0(SB)/4, $0x3c800000 // 2^-6
GLOBL least4<>(SB), RODATA|NOPTR, $4
DATA most4<>+0(SB)/4, $0x43e00000 // 448
GLOBL most4<>(SB), RODATA|NOPTR, $4
DATA half4<>+0(SB)/4, $0x0007ffff // of the last place
GLOBL half4<>(SB), RODATA|NOPTR, $4
DATA last4<>+0(SB)/4, $1
GLOBL last4<>(SB), RODATA|NOPTR, $4
DATA rebias4<>+0(SB)/4, $960 // (127-7)<<23 >> 20
GLOBL rebias4<>(SB), RODATA|NOPTR, $4
DATA nan4<>+0(SB)/4, $0x7f
GLOBL nan4<>(SB), RODATA|NOPTR, $4

// Magnitudes of E2M1, then numbers.
DATA values4<>+0(SB)/4, $0x00000000
DATA values4<>+4(SB)/4, $0x3f000000
DATA values4<>+8(SB)/4, $0x3f800000
DATA values4<>+12(SB)/4, $0x3fc00000
DATA values4<>+16(SB)/4, $0x40000000
DATA values4<>+20(SB)/4, $0x40400000
DATA values4<>+24(SB)/4, $0x40800000
DATA values4<>+28(SB)/4, $0x40c00000
DATA values4<>+32(SB)/4, $0x80000000
DATA values4<>+36(SB)/4, $0xbf000000
DATA values4<>+40(SB)/4, $0xbf800000
DATA values4<>+44(SB)/4, $0xbfc00000
DATA values4<>+48(SB)/4, $0xc0000000
DATA values4<>+52(SB)/4, $0xc0400000
DATA values4<>+56(SB)/4, $0xc0800000
DATA values4<>+60(SB)/4, $0xc0c00000
GLOBL values4<>(SB), RODATA|NOPTR, $64

// Where each of eight codes begins in four bytes, twice.
DATA shifts4<>+0(SB)/4, $0
DATA shifts4<>+4(SB)/4, $4
DATA shifts4<>+8(SB)/4, $8
DATA shifts4<>+12(SB)/4, $12
DATA shifts4<>+16(SB)/4, $16
DATA shifts4<>+20(SB)/4, $20
DATA shifts4<>+24(SB)/4, $24
DATA shifts4<>+28(SB)/4, $28
DATA shifts4<>+32(SB)/4, $0
DATA shifts4<>+36(SB)/4, $4
DATA shifts4<>+40(SB)/4, $8
DATA shifts4<>+44(SB)/4, $12
DATA shifts4<>+48(SB)/4, $16
DATA shifts4<>+52(SB)/4, $20
DATA shifts4<>+56(SB)/4, $24
DATA shifts4<>+60(SB)/4, $28
GLOBL shifts4<>(SB), RODATA|NOPTR, $64

// GROUP leaves in to the larger magnitudes of the two halves of sixteen numbers at an offset.
#define GROUP(offset, to) \
	VPAND   offset(SI), Y15, to       \
	VPAND   (offset+32)(SI), Y15, Y14 \
	VPMAXUD Y14, to, to

// MERGE leaves in a what is larger of low and high halves of a and b, side by side.
#define MERGE(low, high, a, b) \
	low     b, a, Y14 \
	high    b, a, a   \
	VPMAXUD Y14, a, a

// func maxima16AVX2(dst *uint32, src *float32, n int)
//
// The bits of the largest magnitude of each sixteen of n numbers, a multiple of 128.
TEXT ·maxima16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	VPBROADCASTD magnitude4<>(SB), Y15

loop:
	GROUP(0, Y0)
	GROUP(64, Y1)
	GROUP(128, Y2)
	GROUP(192, Y3)
	GROUP(256, Y4)
	GROUP(320, Y5)
	GROUP(384, Y6)
	GROUP(448, Y7)
	MERGE(VPUNPCKLDQ, VPUNPCKHDQ, Y0, Y1)
	MERGE(VPUNPCKLDQ, VPUNPCKHDQ, Y2, Y3)
	MERGE(VPUNPCKLDQ, VPUNPCKHDQ, Y4, Y5)
	MERGE(VPUNPCKLDQ, VPUNPCKHDQ, Y6, Y7)
	MERGE(VPUNPCKLQDQ, VPUNPCKHQDQ, Y0, Y2)
	MERGE(VPUNPCKLQDQ, VPUNPCKHQDQ, Y4, Y6)
	VPERM2I128 $0x20, Y4, Y0, Y1
	VPERM2I128 $0x31, Y4, Y0, Y2
	VPMAXUD Y2, Y1, Y1
	VMOVDQU Y1, (DI)
	ADDQ    $512, SI
	ADDQ    $32, DI
	SUBQ    $128, CX
	JNZ     loop
	VZEROUPPER
	RET

// func nvScalesAVX2(code *byte, factor *float32, largest *uint32, tensor, inverse float32, n int)
//
// What nvScale returns for n magnitudes, a multiple of 8.
TEXT ·nvScalesAVX2(SB), NOSPLIT, $0-40
	MOVQ code+0(FP), DI
	MOVQ factor+8(FP), DX
	MOVQ largest+16(FP), SI
	MOVQ n+32(FP), CX
	VBROADCASTSS tensor+24(FP), Y15
	VBROADCASTSS inverse+28(FP), Y14
	VBROADCASTSS six4<>(SB), Y13
	VBROADCASTSS least4<>(SB), Y12
	VBROADCASTSS most4<>(SB), Y11
	VPBROADCASTD half4<>(SB), Y10
	VPBROADCASTD last4<>(SB), Y9
	VPBROADCASTD rebias4<>(SB), Y8
	VPBROADCASTD finite4<>(SB), Y7
	VPBROADCASTD nan4<>(SB), Y6

loop:
	VMOVUPS  (SI), Y0
	VPCMPGTD Y7, Y0, Y1 // all ones where a block is not finite
	VDIVPS   Y13, Y0, Y0
	VDIVPS   Y15, Y0, Y0
	VMAXPS   Y12, Y0, Y0
	VMINPS   Y11, Y0, Y0
	VPSRLD   $20, Y0, Y2
	VPAND    Y9, Y2, Y2
	VPADDD   Y10, Y2, Y2
	VPADDD   Y0, Y2, Y2
	VPSRLD   $20, Y2, Y2
	VPSLLD   $20, Y2, Y3
	VDIVPS   Y3, Y14, Y3
	VPANDN   Y3, Y1, Y3
	VMOVUPS  Y3, (DX)
	VPSUBD   Y8, Y2, Y2
	VPBLENDVB Y1, Y6, Y2, Y2
	VEXTRACTI128 $1, Y2, X3
	VPACKUSDW X3, X2, X2
	VPACKUSWB X2, X2, X2
	VMOVQ    X2, (DI)
	ADDQ     $32, SI
	ADDQ     $32, DX
	ADDQ     $8, DI
	SUBQ     $8, CX
	JNZ      loop
	VZEROUPPER
	RET

// SUMS leaves in to the codes of eight numbers at an offset, and 42 more, and the numbers' signs in
// sign. by is what numbers are multiplied by. See e2m1.
#define SUMS(offset, by, to, sign) \
	VMULPS offset(SI), by, sign \
	VANDPS Y15, sign, to        \
	VMINPS Y14, to, to          \
	VMAXPS Y13, to, Y8          \
	VANDPS Y12, Y8, Y8          \
	VPADDD Y11, Y8, Y8          \
	VADDPS Y8, to, to           \
	VPSRLD $22, to, Y8          \
	VPADDD Y8, to, to           \
	VPAND  Y10, to, to

// PAIRS leaves in a the codes of 16 numbers, two each in the last byte of each double word.
#define PAIRS(a, b, signa, signb) \
	VPACKUSDW b, a, a             \
	VPACKSSDW signb, signa, signa \
	VPSRLW    $15, signa, signa   \
	VPSLLW    $3, signa, signa    \
	VPADDW    signa, a, a         \
	VPMADDWD  Y9, a, a            \
	VPSUBD    Y7, a, a

// CODES leaves in X0 the codes of 32 numbers at SI, multiplied by Y5 and Y6.
#define CODES \
	SUMS(0, Y5, Y0, Y2)       \
	SUMS(32, Y5, Y1, Y3)      \
	PAIRS(Y0, Y1, Y2, Y3)     \
	SUMS(64, Y6, Y1, Y3)      \
	SUMS(96, Y6, Y2, Y4)      \
	PAIRS(Y1, Y2, Y3, Y4)     \
	VPACKUSDW Y1, Y0, Y0      \
	VPACKUSWB Y0, Y0, Y0      \
	VEXTRACTI128 $1, Y0, X1   \
	VPUNPCKLWD X1, X0, X0

#define CONSTANTS4 \
	VPBROADCASTD magnitude4<>(SB), Y15 \
	VBROADCASTSS six4<>(SB), Y14       \
	VBROADCASTSS one4<>(SB), Y13       \
	VPBROADCASTD exponent4<>(SB), Y12  \
	VPBROADCASTD widen4<>(SB), Y11     \
	VPBROADCASTD byte4<>(SB), Y10      \
	VPBROADCASTD pair4<>(SB), Y9       \
	VPBROADCASTD bias4<>(SB), Y7

// func mxfp4EncodeAVX2(dst *byte, src *float32, code *byte, factor *float32, n int)
//
// n blocks of 32 numbers.
TEXT ·mxfp4EncodeAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ code+16(FP), R8
	MOVQ factor+24(FP), DX
	MOVQ n+32(FP), CX
	CONSTANTS4

loop:
	MOVB (R8), AX
	MOVB AX, (DI)
	VBROADCASTSS (DX), Y5
	VMOVAPS Y5, Y6
	CODES
	VMOVDQU X0, 1(DI)
	ADDQ $128, SI
	ADDQ $17, DI
	INCQ R8
	ADDQ $4, DX
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func nvfp4EncodeAVX2(dst *byte, src *float32, code *byte, factor *float32, n int)
//
// n pairs of blocks of 16 numbers.
TEXT ·nvfp4EncodeAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ code+16(FP), R8
	MOVQ factor+24(FP), DX
	MOVQ n+32(FP), CX
	CONSTANTS4

loop:
	MOVB (R8), AX
	MOVB AX, (DI)
	MOVB 1(R8), AX
	MOVB AX, 9(DI)
	VBROADCASTSS (DX), Y5
	VBROADCASTSS 4(DX), Y6
	CODES
	VMOVQ   X0, 1(DI)
	VPEXTRQ $1, X0, 10(DI)
	ADDQ $128, SI
	ADDQ $18, DI
	ADDQ $2, R8
	ADDQ $8, DX
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// EIGHT reads eight codes at an offset of SI to an offset of DI, times Y0.
#define EIGHT(from, to) \
	VPBROADCASTD from(SI), Y1 \
	VPSRLVD Y15, Y1, Y1       \
	VPERMPS Y14, Y1, Y2       \
	VPSLLD  $28, Y1, Y1       \
	VPAND   Y13, Y1, Y1       \
	VPXOR   Y1, Y2, Y2        \
	VMULPS  Y0, Y2, Y2        \
	VMOVUPS Y2, to(DI)

// SCALE leaves in to the scale at SI, times unit.
#define SCALE(unit, to) \
	MOVBLZX (SI), AX                \
	VBROADCASTSS (R8)(AX*4), to     \
	VMULPS  unit, to, to

// func fp4DecodeAVX2(dst *float32, src *byte, scales *[256]float32, unit float32, two bool, n int)
//
// n blocks of 32 numbers if two, else of 16.
TEXT ·fp4DecodeAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ scales+16(FP), R8
	VBROADCASTSS unit+24(FP), Y12
	MOVBLZX two+28(FP), BX
	MOVQ n+32(FP), CX
	VMOVDQU shifts4<>(SB), Y15
	VMOVUPS values4<>(SB), Y14
	VPBROADCASTD sign4<>(SB), Y13

loop:
	SCALE(Y12, Y0)
	EIGHT(1, 0)
	EIGHT(5, 32)
	TESTL BX, BX
	JZ    next
	EIGHT(9, 64)
	EIGHT(13, 96)
	ADDQ $64, DI
	ADDQ $8, SI

next:
	ADDQ $64, DI
	ADDQ $9, SI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// SIXTEEN is EIGHT for sixteen codes, times Z0.
#define SIXTEEN(from, to) \
	VPBROADCASTD from(SI), Z1         \
	VPBROADCASTD (from+4)(SI), K1, Z1 \
	VPSRLVD Z15, Z1, Z1               \
	VPERMPS Z14, Z1, Z2               \
	VMULPS  Z0, Z2, Z2                \
	VMOVUPS Z2, to(DI)

// func fp4DecodeAVX512(dst *float32, src *byte, scales *[256]float32, unit float32, two bool, n int)
TEXT ·fp4DecodeAVX512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ scales+16(FP), R8
	VBROADCASTSS unit+24(FP), Z12
	MOVBLZX two+28(FP), BX
	MOVQ n+32(FP), CX
	VMOVDQU32 shifts4<>(SB), Z15
	VMOVUPS values4<>(SB), Z14
	MOVL  $0xff00, AX
	KMOVW AX, K1

loop:
	SCALE(Z12, Z0)
	SIXTEEN(1, 0)
	TESTL BX, BX
	JZ    next
	SIXTEEN(9, 64)
	ADDQ $64, DI
	ADDQ $8, SI

next:
	ADDQ $64, DI
	ADDQ $9, SI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
