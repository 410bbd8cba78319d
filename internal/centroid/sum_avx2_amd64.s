//go:build amd64 && !purego

#include "textflag.h"

// A pass takes some columns of all rows, into as many registers, and then the next columns: so each
// element of dst is written once.

// func sumAVX2(dst, x *float32, stride int, rows *int32, n, cols int, factor float32)
TEXT ·sumAVX2(SB), NOSPLIT, $0-52
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ stride+16(FP), R8
	SHLQ $2, R8
	MOVQ rows+24(FP), R9
	MOVQ n+32(FP), R10
	MOVQ cols+40(FP), CX
	VBROADCASTSS factor+48(FP), Y15

many:
	CMPQ CX, $64
	JLT  few
	MOVLQSX (R9), AX
	IMULQ R8, AX
	ADDQ SI, AX
	VMOVUPS (AX), Y0
	VMOVUPS 32(AX), Y1
	VMOVUPS 64(AX), Y2
	VMOVUPS 96(AX), Y3
	VMOVUPS 128(AX), Y4
	VMOVUPS 160(AX), Y5
	VMOVUPS 192(AX), Y6
	VMOVUPS 224(AX), Y7
	MOVQ $1, BX
	CMPQ BX, R10
	JGE  manydone

manyrows:
	MOVLQSX (R9)(BX*4), AX
	IMULQ R8, AX
	ADDQ SI, AX
	VADDPS (AX), Y0, Y0
	VADDPS 32(AX), Y1, Y1
	VADDPS 64(AX), Y2, Y2
	VADDPS 96(AX), Y3, Y3
	VADDPS 128(AX), Y4, Y4
	VADDPS 160(AX), Y5, Y5
	VADDPS 192(AX), Y6, Y6
	VADDPS 224(AX), Y7, Y7
	INCQ BX
	CMPQ BX, R10
	JLT  manyrows

manydone:
	VMULPS Y15, Y0, Y0
	VMULPS Y15, Y1, Y1
	VMULPS Y15, Y2, Y2
	VMULPS Y15, Y3, Y3
	VMULPS Y15, Y4, Y4
	VMULPS Y15, Y5, Y5
	VMULPS Y15, Y6, Y6
	VMULPS Y15, Y7, Y7
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ $256, DI
	ADDQ $256, SI
	SUBQ $64, CX
	JMP  many

few:
	CMPQ CX, $8
	JLT  done
	MOVLQSX (R9), AX
	IMULQ R8, AX
	VMOVUPS (SI)(AX*1), Y0
	MOVQ $1, BX
	CMPQ BX, R10
	JGE  fewdone

fewrows:
	MOVLQSX (R9)(BX*4), AX
	IMULQ R8, AX
	VADDPS (SI)(AX*1), Y0, Y0
	INCQ BX
	CMPQ BX, R10
	JLT  fewrows

fewdone:
	VMULPS Y15, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	SUBQ $8, CX
	JMP  few

done:
	VZEROUPPER
	RET
