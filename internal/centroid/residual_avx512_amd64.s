//go:build amd64 && !purego

#include "textflag.h"

// func residualAVX512(dst, x, b *float32, n int, a float32)
TEXT ·residualAVX512(SB), NOSPLIT, $0-36
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	VBROADCASTSS a+32(FP), Z31
	SUBQ $64, CX
	JLT  few

four:
	VMULPS (SI), Z31, Z0
	VMULPS 64(SI), Z31, Z1
	VMULPS 128(SI), Z31, Z2
	VMULPS 192(SI), Z31, Z3
	VSUBPS (DX), Z0, Z0
	VSUBPS 64(DX), Z1, Z1
	VSUBPS 128(DX), Z2, Z2
	VSUBPS 192(DX), Z3, Z3
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	ADDQ $256, SI
	ADDQ $256, DX
	ADDQ $256, DI
	SUBQ $64, CX
	JGE  four

few:
	ADDQ $64, CX
	JZ   done

one:
	VMULPS (SI), Z31, Z0
	VSUBPS (DX), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DX
	ADDQ $64, DI
	SUBQ $16, CX
	JNZ  one

done:
	VZEROUPPER
	RET
