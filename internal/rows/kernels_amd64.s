//go:build amd64 && !purego

#include "textflag.h"

// func copyAVX(dst, src, next *byte, blocks int)
TEXT ·copyAVX(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ next+16(FP), DX
	MOVQ blocks+24(FP), CX

loop:
	PREFETCHT0 (DX)
	PREFETCHT0 64(DX)
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU 64(SI), Y2
	VMOVDQU 96(SI), Y3
	VMOVNTDQ Y0, (DI)
	VMOVNTDQ Y1, 32(DI)
	VMOVNTDQ Y2, 64(DI)
	VMOVNTDQ Y3, 96(DI)
	ADDQ $128, SI
	ADDQ $128, DI
	ADDQ $128, DX
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func scaleAVX(dst, x *float32, weight float32, nextX, nextRow *float32, blocks int)
TEXT ·scaleAVX(SB), NOSPLIT, $0-48
	MOVQ         dst+0(FP), DI
	MOVQ         x+8(FP), SI
	VBROADCASTSS weight+16(FP), Y8
	MOVQ         nextX+24(FP), DX
	MOVQ         nextRow+32(FP), BX
	MOVQ         blocks+40(FP), CX

loop:
	PREFETCHT0 (DX)
	PREFETCHT0 64(DX)
	PREFETCHT0 (BX)
	PREFETCHT0 64(BX)
	VMULPS (SI), Y8, Y0
	VMULPS 32(SI), Y8, Y1
	VMULPS 64(SI), Y8, Y2
	VMULPS 96(SI), Y8, Y3
	VMOVNTPS Y0, (DI)
	VMOVNTPS Y1, 32(DI)
	VMOVNTPS Y2, 64(DI)
	VMOVNTPS Y3, 96(DI)
	ADDQ $128, SI
	ADDQ $128, DI
	ADDQ $128, DX
	ADDQ $128, BX
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func sumAVX(dst, base *float32, at, next *[most]int, weight *[most]float32, terms, blocks int, far bool)
TEXT ·sumAVX(SB), NOSPLIT, $0-57
	MOVQ dst+0(FP), DI
	MOVQ base+8(FP), SI
	MOVQ at+16(FP), R8
	MOVQ next+24(FP), R9
	MOVQ weight+32(FP), R10
	MOVQ terms+40(FP), R11
	MOVQ blocks+48(FP), CX
	MOVBLZX far+56(FP), BX

block:
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	XORL R12, R12

term:
	MOVQ (R8)(R12*8), AX
	MOVQ (R9)(R12*8), DX
	VBROADCASTSS (R10)(R12*4), Y8
	PREFETCHT0 (SI)(DX*1)
	PREFETCHT0 64(SI)(DX*1)
	VMULPS (SI)(AX*1), Y8, Y4
	VMULPS 32(SI)(AX*1), Y8, Y5
	VMULPS 64(SI)(AX*1), Y8, Y6
	VMULPS 96(SI)(AX*1), Y8, Y7
	VADDPS Y4, Y0, Y0
	VADDPS Y5, Y1, Y1
	VADDPS Y6, Y2, Y2
	VADDPS Y7, Y3, Y3
	INCQ R12
	CMPQ R12, R11
	JLT  term
	TESTL BX, BX
	JZ   near
	VMOVNTPS Y0, (DI)
	VMOVNTPS Y1, 32(DI)
	VMOVNTPS Y2, 64(DI)
	VMOVNTPS Y3, 96(DI)
	JMP  stored

near:
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)

stored:
	ADDQ $128, SI
	ADDQ $128, DI
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET

// func fence()
TEXT ·fence(SB), NOSPLIT, $0-0
	SFENCE
	RET
