//go:build amd64 && !purego

#include "textflag.h"

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
