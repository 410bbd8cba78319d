//go:build amd64 && !purego

#include "textflag.h"

// Constants, eight times each.
DATA half<>+0(SB)/4, $0x00007fff
GLOBL half<>(SB), RODATA|NOPTR, $4
DATA one<>+0(SB)/4, $0x00000001
GLOBL one<>(SB), RODATA|NOPTR, $4
DATA quiet<>+0(SB)/4, $0x00000040
GLOBL quiet<>(SB), RODATA|NOPTR, $4
DATA magnitude<>+0(SB)/4, $0x7fffffff
GLOBL magnitude<>(SB), RODATA|NOPTR, $4
DATA half8<>+0(SB)/4, $0x0007ffff // of the last place of E4M3
GLOBL half8<>(SB), RODATA|NOPTR, $4
DATA bias8<>+0(SB)/4, $0x3c000000 // (127-7)<<23
GLOBL bias8<>(SB), RODATA|NOPTR, $4
DATA least8<>+0(SB)/4, $0x3c800000 // 2^-6, below which numbers are multiples of 2^-9
GLOBL least8<>(SB), RODATA|NOPTR, $4
DATA steps8<>+0(SB)/4, $0x44000000 // 2^9
GLOBL steps8<>(SB), RODATA|NOPTR, $4
DATA sign8<>+0(SB)/4, $0x00000080
GLOBL sign8<>(SB), RODATA|NOPTR, $4
DATA code8<>+0(SB)/4, $0x0000007f
GLOBL code8<>(SB), RODATA|NOPTR, $4
DATA widen8<>+0(SB)/4, $0x7b800000 // 2^120
GLOBL widen8<>(SB), RODATA|NOPTR, $4
DATA inOrder<>+0(SB)/4, $0
DATA inOrder<>+4(SB)/4, $4
DATA inOrder<>+8(SB)/4, $1
DATA inOrder<>+12(SB)/4, $5
DATA inOrder<>+16(SB)/4, $2
DATA inOrder<>+20(SB)/4, $6
DATA inOrder<>+24(SB)/4, $3
DATA inOrder<>+28(SB)/4, $7
GLOBL inOrder<>(SB), RODATA|NOPTR, $32

// BF16 leaves in Y0 the upper halves of eight numbers at an offset, rounded to even. It uses Y1 to
// Y3.
#define BF16(offset) \
	VMOVUPS offset(SI), Y1           \
	VPSRLD  $16, Y1, Y2              \
	VPAND   Y13, Y2, Y3              \
	VPADDD  Y12, Y3, Y3              \
	VPADDD  Y1, Y3, Y3               \
	VPSRLD  $16, Y3, Y3              \
	VPOR    Y14, Y2, Y2              \
	VCMPPS  $3, Y1, Y1, Y1           \
	VBLENDVPS Y1, Y2, Y3, Y0

// func bf16EncodeAVX2(dst *byte, src *float32, n int)
TEXT ·bf16EncodeAVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	VPBROADCASTD half<>(SB), Y12
	VPBROADCASTD one<>(SB), Y13
	VPBROADCASTD quiet<>(SB), Y14

loop:
	BF16(0)
	VMOVAPS Y0, Y4
	BF16(32)
	VPACKUSDW Y0, Y4, Y4
	VPERMQ  $0xD8, Y4, Y4
	VMOVDQU Y4, (DI)
	ADDQ    $64, SI
	ADDQ    $32, DI
	SUBQ    $16, CX
	JNZ     loop
	VZEROUPPER
	RET

// func bf16DecodeAVX2(dst *float32, src *byte, n int)
TEXT ·bf16DecodeAVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPSLLD  $16, Y0, Y0
	VPSLLD  $16, Y1, Y1
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	ADDQ    $32, SI
	ADDQ    $64, DI
	SUBQ    $16, CX
	JNZ     loop
	VZEROUPPER
	RET

// func fp16EncodeAVX2(dst *byte, src *float32, n int)
TEXT ·fp16EncodeAVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VMOVUPS   (SI), Y0
	VMOVUPS   32(SI), Y1
	VCVTPS2PH $0, Y0, X0
	VCVTPS2PH $0, Y1, X1
	VMOVDQU   X0, (DI)
	VMOVDQU   X1, 16(DI)
	ADDQ      $64, SI
	ADDQ      $32, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func fp16DecodeAVX2(dst *float32, src *byte, n int)
TEXT ·fp16DecodeAVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VCVTPH2PS (SI), Y0
	VCVTPH2PS 16(SI), Y1
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y1, 32(DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       loop
	VZEROUPPER
	RET

// func largestAVX2(src *float32, n int) float32
//
// The largest magnitude of n numbers, or a NaN where one of them is.
TEXT ·largestAVX2(SB), NOSPLIT, $0-20
	MOVQ src+0(FP), SI
	MOVQ n+8(FP), CX
	VPBROADCASTD magnitude<>(SB), Y15
	VXORPS Y0, Y0, Y0 // largest
	VXORPS Y1, Y1, Y1 // which are NaN

loop:
	VMOVUPS (SI), Y2
	VMOVUPS 32(SI), Y3
	VCMPPS  $3, Y2, Y2, Y4
	VCMPPS  $3, Y3, Y3, Y5
	VORPS   Y4, Y1, Y1
	VORPS   Y5, Y1, Y1
	VANDPS  Y15, Y2, Y2
	VANDPS  Y15, Y3, Y3
	VMAXPS  Y2, Y0, Y0
	VMAXPS  Y3, Y0, Y0
	ADDQ    $64, SI
	SUBQ    $16, CX
	JNZ     loop
	VORPS   Y1, Y0, Y0 // all ones is a NaN
	VMOVMSKPS Y1, AX
	VEXTRACTF128 $1, Y0, X2
	VMAXPS  X2, X0, X0
	VPERMILPS $0x4E, X0, X2
	VMAXPS  X2, X0, X0
	VPERMILPS $0xB1, X0, X2
	VMAXPS  X2, X0, X0
	TESTL   AX, AX
	JZ      done
	VPCMPEQD X0, X0, X0

done:
	VMOVSS  X0, ret+16(FP)
	VZEROUPPER
	RET

// SCALED leaves in Y0 eight numbers at an offset over Y8, between -Y9 and Y9. Y10 is -Y9.
#define SCALED(offset) \
	VMOVUPS offset(SI), Y0 \
	VDIVPS  Y8, Y0, Y0     \
	VMAXPS  Y10, Y0, Y0    \
	VMINPS  Y9, Y0, Y0

// E4M3 leaves in to the codes of eight numbers at an offset. It uses Y0 and Y5 to Y7.
#define E4M3(offset, to) \
	SCALED(offset)                        \
	VPSRLD    $24, Y0, Y7                 \
	VPBROADCASTD sign8<>(SB), Y6          \
	VPAND     Y6, Y7, Y7                  \
	VANDPS    Y15, Y0, Y0                 \
	VPSRLD    $20, Y0, Y5                 \
	VPAND     Y13, Y5, Y5                 \
	VPADDD    Y12, Y5, Y5                 \
	VPADDD    Y0, Y5, Y5                  \
	VPSUBD    Y14, Y5, Y5                 \
	VPSRLD    $20, Y5, Y5                 \
	VCMPPS    $1, Y11, Y0, Y6             \
	VPBROADCASTD steps8<>(SB), to         \
	VMULPS    to, Y0, Y0                  \
	VCVTPS2DQ Y0, Y0                      \
	VBLENDVPS Y6, Y0, Y5, Y5              \
	VPOR      Y7, Y5, to

// func fp8EncodeAVX2(dst *byte, src *float32, scale, top float32, n int)
TEXT ·fp8EncodeAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+16(FP), Y8
	VBROADCASTSS top+20(FP), Y9
	VXORPS Y10, Y10, Y10
	VSUBPS Y9, Y10, Y10
	VPBROADCASTD least8<>(SB), Y11
	VPBROADCASTD half8<>(SB), Y12
	VPBROADCASTD one<>(SB), Y13
	VPBROADCASTD bias8<>(SB), Y14
	VPBROADCASTD magnitude<>(SB), Y15

loop:
	E4M3(0, Y1)
	E4M3(32, Y2)
	E4M3(64, Y3)
	E4M3(96, Y4)
	VPACKUSDW Y2, Y1, Y1
	VPACKUSDW Y4, Y3, Y3
	VPACKUSWB Y3, Y1, Y1
	VMOVDQU   inOrder<>(SB), Y0
	VPERMD    Y1, Y0, Y1
	VMOVDQU   Y1, (DI)
	ADDQ      $128, SI
	ADDQ      $32, DI
	SUBQ      $32, CX
	JNZ       loop
	VZEROUPPER
	RET

// func int8EncodeAVX2(dst *byte, src *float32, scale, top float32, n int)
TEXT ·int8EncodeAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+16(FP), Y8
	VBROADCASTSS top+20(FP), Y9
	VXORPS Y10, Y10, Y10
	VSUBPS Y9, Y10, Y10
	VMOVDQU inOrder<>(SB), Y15

loop:
	SCALED(0)
	VCVTPS2DQ Y0, Y1
	SCALED(32)
	VCVTPS2DQ Y0, Y2
	SCALED(64)
	VCVTPS2DQ Y0, Y3
	SCALED(96)
	VCVTPS2DQ Y0, Y4
	VPACKSSDW Y2, Y1, Y1
	VPACKSSDW Y4, Y3, Y3
	VPACKSSWB Y3, Y1, Y1
	VPERMD    Y1, Y15, Y1
	VMOVDQU   Y1, (DI)
	ADDQ      $128, SI
	ADDQ      $32, DI
	SUBQ      $32, CX
	JNZ       loop
	VZEROUPPER
	RET

// func fp8DecodeAVX2(dst *float32, src *byte, scale float32, n int)
TEXT ·fp8DecodeAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+16(FP), Y8
	VPBROADCASTD sign8<>(SB), Y12
	VPBROADCASTD code8<>(SB), Y13
	VPBROADCASTD widen8<>(SB), Y14

loop:
	VPMOVZXBD (SI), Y0
	VPAND     Y12, Y0, Y1
	VPSLLD    $24, Y1, Y1
	VPAND     Y13, Y0, Y2
	VPCMPEQD  Y13, Y2, Y3 // all ones where the code is a NaN's
	VPSLLD    $20, Y2, Y2
	VMULPS    Y14, Y2, Y2
	VPOR      Y1, Y2, Y2
	VPOR      Y3, Y2, Y2
	VMULPS    Y2, Y8, Y2
	VMOVUPS   Y2, (DI)
	ADDQ      $8, SI
	ADDQ      $32, DI
	SUBQ      $8, CX
	JNZ       loop
	VZEROUPPER
	RET

// func int8DecodeAVX2(dst *float32, src *byte, scale float32, n int)
TEXT ·int8DecodeAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+16(FP), Y8

loop:
	VPMOVSXBD (SI), Y0
	VCVTDQ2PS Y0, Y0
	VMULPS    Y0, Y8, Y0
	VMOVUPS   Y0, (DI)
	ADDQ      $8, SI
	ADDQ      $32, DI
	SUBQ      $8, CX
	JNZ       loop
	VZEROUPPER
	RET
