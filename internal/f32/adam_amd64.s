//go:build amd64 && !purego

#include "textflag.h"

// The nine numbers of c stand in Y7 to Y15 in the order of AdamStep's fields.
// func adamAVX2(c *AdamStep, value, grad, m, v []float32)
TEXT ·adamAVX2(SB), NOSPLIT, $0-104
	MOVQ         c+0(FP), R8
	MOVQ         value_base+8(FP), DI
	MOVQ         value_len+16(FP), CX
	MOVQ         grad_base+32(FP), SI
	MOVQ         m_base+56(FP), DX
	MOVQ         v_base+80(FP), BX
	VBROADCASTSS (R8), Y7
	VBROADCASTSS 4(R8), Y8
	VBROADCASTSS 8(R8), Y9
	VBROADCASTSS 12(R8), Y10
	VBROADCASTSS 16(R8), Y11
	VBROADCASTSS 20(R8), Y12
	VBROADCASTSS 24(R8), Y13
	VBROADCASTSS 28(R8), Y14
	VBROADCASTSS 32(R8), Y15
	SHRQ         $3, CX
	JZ           done

loop:
	VMOVUPS (SI), Y0
	VMULPS  (DX), Y7, Y1
	VMULPS  Y0, Y8, Y2
	VADDPS  Y2, Y1, Y1   // m
	VMOVUPS Y1, (DX)
	VMULPS  (BX), Y9, Y2
	VMULPS  Y0, Y0, Y0
	VMULPS  Y0, Y10, Y0
	VADDPS  Y0, Y2, Y2   // v
	VMOVUPS Y2, (BX)
	VMULPS  Y12, Y2, Y2
	VSQRTPS Y2, Y2
	VADDPS  Y13, Y2, Y2
	VMULPS  Y11, Y1, Y1
	VMULPS  Y14, Y1, Y1
	VDIVPS  Y2, Y1, Y1
	VMULPS  (DI), Y15, Y0
	VSUBPS  Y1, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DI
	ADDQ    $32, DX
	ADDQ    $32, BX
	DECQ    CX
	JNZ     loop

done:
	VZEROUPPER
	RET
