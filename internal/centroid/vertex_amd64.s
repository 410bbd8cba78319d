//go:build amd64 && !purego

#include "textflag.h"

// func vertexAVX2(dst *uint32, x *float32, q, n int)
TEXT ·vertexAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ q+16(FP), R8
	MOVQ n+24(FP), CX
	SHLQ $2, R8
	VPCMPEQD Y15, Y15, Y15
	VPSRLD $1, Y15, Y15 // all bits but the sign

vertex:
	LEAQ (SI)(R8*1), R9 // where the coordinates end
	MOVQ SI, AX
	VPXOR Y0, Y0, Y0

largest:
	VPAND  (AX), Y15, Y1
	VPMAXSD Y1, Y0, Y0
	ADDQ $32, AX
	CMPQ AX, R9
	JLT  largest
	VPERM2I128 $1, Y0, Y0, Y1
	VPMAXSD Y1, Y0, Y0
	VPSHUFD $0x4E, Y0, Y1
	VPMAXSD Y1, Y0, Y0
	VPSHUFD $0xB1, Y0, Y1
	VPMAXSD Y1, Y0, Y0
	MOVQ SI, AX

seek:
	VPAND  (AX), Y15, Y1
	VPCMPEQD Y1, Y0, Y1
	VMOVMSKPS Y1, BX
	ADDQ $32, AX
	TESTL BX, BX
	JZ   seek
	BSFL BX, BX
	LEAQ -32(AX)(BX*4), AX
	MOVL (AX), DX
	SHRL $31, DX
	SUBQ SI, AX
	SHRL $1, AX // twice the index
	ORL  DX, AX
	MOVL AX, (DI)
	ADDQ $4, DI
	MOVQ R9, SI
	DECQ CX
	JNZ  vertex
	VZEROUPPER
	RET

// func vertex8AVX512(dst *uint32, x *float32, n int)
TEXT ·vertex8AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VPTERNLOGD $0xFF, Z15, Z15, Z15
	VPSLLD $31, Z15, Z14 // the sign
	VPSRLD $1, Z15, Z15  // all bits but the sign

	// Two vertices of eight coordinates stand side by side.
two:
	VMOVDQU32 (SI), Z0
	VPANDD Z15, Z0, Z1
	VPTESTMD Z14, Z0, K1
	VSHUFI32X4 $0xB1, Z1, Z1, Z2
	VPMAXSD Z2, Z1, Z2
	VPSHUFD $0x4E, Z2, Z3
	VPMAXSD Z3, Z2, Z2
	VPSHUFD $0xB1, Z2, Z3
	VPMAXSD Z3, Z2, Z2
	VPCMPEQD Z2, Z1, K2
	KMOVW K1, R8
	KMOVW K2, R9
	BSFL R9, AX
	BTL  AX, R8
	ADCL AX, AX // twice the index, and the sign
	MOVL AX, (DI)
	SHRL $8, R8
	SHRL $8, R9
	BSFL R9, AX
	BTL  AX, R8
	ADCL AX, AX
	MOVL AX, 4(DI)
	ADDQ $64, SI
	ADDQ $8, DI
	SUBQ $2, CX
	JNZ  two
	VZEROUPPER
	RET
