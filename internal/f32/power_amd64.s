//go:build amd64 && !purego

#include "textflag.h"
#include "table_amd64.h"

// Offsets into the constants of powers, whose address is in R9.

#define LEASTNORMAL 0(R9)
#define LEASTEXP2 32(R9)
#define LOGC0 64(R9)
#define LOGC1 96(R9)
#define LOGC2 128(R9)
#define LOGC3 160(R9)
#define LOGC4 192(R9)
#define LOGC5 224(R9)
#define EXPD0 256(R9)
#define EXPD1 288(R9)
#define EXPD2 320(R9)
#define EXPD3 352(R9)
#define SQRTHALF 384(R9)
#define FRACTION 416(R9)

// LOG2 sets Y0 to the logarithm of Y4 to base 2, lane by lane as Log2 does, and spoils Y1 to Y4.
#define LOG2 \
	VMAXPS    LEASTNORMAL, Y4, Y4 \
	VPSUBD    SQRTHALF, Y4, Y1 \
	VPSRAD    $23, Y1, Y2 \
	VCVTDQ2PS Y2, Y2 \
	VPAND     FRACTION, Y1, Y1 \
	VPADDD    SQRTHALF, Y1, Y1 \
	VSUBPS    ONE, Y1, Y3 \
	VMULPS    LOGC5, Y3, Y0 \
	VADDPS    LOGC4, Y0, Y0 \
	VMULPS    Y3, Y0, Y0 \
	VADDPS    LOGC3, Y0, Y0 \
	VMULPS    Y3, Y0, Y0 \
	VADDPS    LOGC2, Y0, Y0 \
	VMULPS    Y3, Y0, Y0 \
	VADDPS    LOGC1, Y0, Y0 \
	VMULPS    Y3, Y0, Y0 \
	VADDPS    LOGC0, Y0, Y0 \
	VMULPS    Y3, Y0, Y0 \
	VADDPS    Y2, Y0, Y0

// EXP2 replaces Y0 by 2^Y0, lane by lane as Exp2 does, and spoils Y1 to Y3.
#define EXP2 \
	VMAXPS    LEASTEXP2, Y0, Y0 \
	VADDPS    MAGIC, Y0, Y1 \
	VSUBPS    MAGIC, Y1, Y2 \
	VSUBPS    Y2, Y0, Y2 \
	VMULPS    EXPD3, Y2, Y3 \
	VADDPS    EXPD2, Y3, Y3 \
	VMULPS    Y2, Y3, Y3 \
	VADDPS    EXPD1, Y3, Y3 \
	VMULPS    Y2, Y3, Y3 \
	VADDPS    EXPD0, Y3, Y3 \
	VMULPS    Y2, Y3, Y3 \
	VADDPS    ONE, Y3, Y3 \
	VPSLLD    $23, Y1, Y1 \
	VPADDD    Y1, Y3, Y0

// func powerAVX2(p *PowerOf, dst, x []float32, table, constants *eight[float32])
TEXT ·powerAVX2(SB), NOSPLIT, $0-72
	MOVQ         p+0(FP), AX
	MOVQ         dst_base+8(FP), DI
	MOVQ         dst_len+16(FP), CX
	MOVQ         x_base+32(FP), SI
	MOVQ         table+56(FP), R8
	MOVQ         constants+64(FP), R9
	VBROADCASTSS (AX), Y13
	VBROADCASTSS 4(AX), Y14
	VBROADCASTSS 8(AX), Y15
	VXORPS       Y12, Y12, Y12
	SHRQ         $3, CX
	JZ           done

loop:
	VMOVUPS (SI), Y10
	VANDPS  ABSMASK, Y10, Y4
	VANDPS  SIGN, Y10, Y10
	VCMPPS  $0, Y12, Y4, Y11
	LOG2
	VSUBPS  Y13, Y0, Y0
	VMULPS  Y14, Y0, Y0
	EXP2
	VMULPS  Y15, Y0, Y0
	VANDNPS Y0, Y11, Y0
	VORPS   Y10, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	DECQ    CX
	JNZ     loop

done:
	VZEROUPPER
	RET
