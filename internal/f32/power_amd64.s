//go:build amd64 && !purego

#include "textflag.h"
#include "table_amd64.h"

// Offsets into the constants of the logarithm, whose address is in R9.

#define LEASTNORMAL 0(R9)
#define TWO23 32(R9)
#define SHIFT 64(R9)
#define HALF 96(R9)
#define LOGC0 128(R9)
#define LOGC1 160(R9)
#define LOGC2 192(R9)
#define LOGC3 224(R9)
#define LOGC4 256(R9)
#define LOGC5 288(R9)
#define LOGC6 320(R9)
#define LOGC7 352(R9)
#define SQRTHALF 384(R9)
#define FRACTION 416(R9)

// LOG sets Y0 to the logarithm of Y4, lane by lane as Log does, and spoils Y1 to Y7.
#define LOG \
	VCMPPS    $1, LEASTNORMAL, Y4, Y5 \
	VMULPS    TWO23, Y4, Y6 \
	VBLENDVPS Y5, Y6, Y4, Y4 \
	VANDPS    SHIFT, Y5, Y5 \
	VPSUBD    SQRTHALF, Y4, Y6 \
	VPSRAD    $23, Y6, Y7 \
	VCVTDQ2PS Y7, Y7 \
	VSUBPS    Y5, Y7, Y7 \
	VPAND     FRACTION, Y6, Y6 \
	VPADDD    SQRTHALF, Y6, Y6 \
	VSUBPS    ONE, Y6, Y6 \
	VMULPS    LOGC7, Y6, Y1 \
	VADDPS    LOGC6, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    LOGC5, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    LOGC4, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    LOGC3, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    LOGC2, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    LOGC1, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    LOGC0, Y1, Y1 \
	VMULPS    Y6, Y6, Y2 \
	VMULPS    Y6, Y2, Y3 \
	VMULPS    Y3, Y1, Y1 \
	VMULPS    LN2LO, Y7, Y3 \
	VADDPS    Y3, Y1, Y1 \
	VMULPS    HALF, Y2, Y2 \
	VSUBPS    Y2, Y1, Y1 \
	VADDPS    Y6, Y1, Y1 \
	VMULPS    LN2HI, Y7, Y7 \
	VADDPS    Y7, Y1, Y0

// func powerAVX2(p *PowerOf, dst, x []float32, table, log *eight[float32])
TEXT ·powerAVX2(SB), NOSPLIT, $0-72
	MOVQ         p+0(FP), AX
	MOVQ         dst_base+8(FP), DI
	MOVQ         dst_len+16(FP), CX
	MOVQ         x_base+32(FP), SI
	MOVQ         table+56(FP), R8
	MOVQ         log+64(FP), R9
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
	LOG
	VSUBPS  Y13, Y0, Y0
	VMULPS  Y14, Y0, Y0
	EXP
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
