//go:build amd64 && !purego

#include "textflag.h"

// func dotsAVX2(sums *[4]Lanes, x, y0, y1, y2, y3 *float64, n int)
//
// Products are rounded before they are added, so there is no fused multiply-add.
TEXT ·dotsAVX2(SB), NOSPLIT, $0-56
	MOVQ    sums+0(FP), DI
	MOVQ    x+8(FP), SI
	MOVQ    y0+16(FP), R8
	MOVQ    y1+24(FP), R9
	MOVQ    y2+32(FP), R10
	MOVQ    y3+40(FP), R11
	MOVQ    n+48(FP), CX
	VMOVUPD (DI), Y0
	VMOVUPD 32(DI), Y1
	VMOVUPD 64(DI), Y2
	VMOVUPD 96(DI), Y3
	XORQ    AX, AX

loop:
	CMPQ    AX, CX
	JGE     done
	VMOVUPD (SI)(AX*8), Y4
	VMULPD  (R8)(AX*8), Y4, Y5
	VMULPD  (R9)(AX*8), Y4, Y6
	VMULPD  (R10)(AX*8), Y4, Y7
	VMULPD  (R11)(AX*8), Y4, Y8
	VADDPD  Y5, Y0, Y0
	VADDPD  Y6, Y1, Y1
	VADDPD  Y7, Y2, Y2
	VADDPD  Y8, Y3, Y3
	ADDQ    $4, AX
	JMP     loop

done:
	VMOVUPD Y0, (DI)
	VMOVUPD Y1, 32(DI)
	VMOVUPD Y2, 64(DI)
	VMOVUPD Y3, 96(DI)
	VZEROUPPER
	RET
