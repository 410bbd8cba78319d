//go:build amd64 && !purego

#include "textflag.h"

// func finiteAVX2(x []float32) bool
TEXT ·finiteAVX2(SB), NOSPLIT, $0-25
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	SHRQ $3, CX
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	TESTQ $1, CX
	JZ   pairs
	VMOVUPS (SI), Y0
	VSUBPS Y0, Y0, Y0 // NaN unless finite
	VCMPPS $3, Y0, Y0, Y4
	ADDQ $32, SI

pairs:
	SHRQ $1, CX
	JZ   all

loop:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VSUBPS  Y0, Y0, Y0
	VSUBPS  Y1, Y1, Y1
	VCMPPS  $3, Y0, Y0, Y0
	VCMPPS  $3, Y1, Y1, Y1
	VORPS   Y0, Y4, Y4
	VORPS   Y1, Y5, Y5
	ADDQ $64, SI
	DECQ CX
	JNZ  loop

all:
	VORPS Y5, Y4, Y4
	VMOVMSKPS Y4, AX
	TESTL AX, AX
	SETEQ ret+24(FP)
	VZEROUPPER
	RET

// AHEAD adds to Y5, in each lane of Y0, whether the lane n further on goes first.
#define AHEAD(n) \
	VMOVDQU   (n*32-32)(R8), Y1 \
	VPERMPS   Y0, Y1, Y1 \
	VCMPPS    $0x1E, Y0, Y1, Y2 \
	VCMPPS    $0x1D, Y0, Y1, Y3 \
	VMOVUPS   (n*32+192)(R8), Y4 \
	VBLENDVPS Y4, Y3, Y2, Y2 \
	VPSUBD    Y2, Y5, Y5

// RANKED puts lane n where its rank says.
#define RANKED(n) \
	MOVL (4*n)(R12), AX \
	MOVL $n, 32(R12)(AX*4)

// func topRowsAVX2(best []int32, x []float32, cols, k int, scratch []float32, turns *[14]eight[uint32])
TEXT ·topRowsAVX2(SB), NOSPLIT, $0-96
	MOVQ best_base+0(FP), DI
	MOVQ best_len+8(FP), AX
	MOVQ x_base+24(FP), SI
	MOVQ cols+48(FP), R10
	MOVQ k+56(FP), R11
	MOVQ scratch_base+64(FP), R12
	MOVQ turns+88(FP), R8
	XORL DX, DX
	DIVQ R11
	MOVQ AX, R9 // rows
	CMPQ R10, $8
	JNE  row
	CMPQ R11, $1
	JNE  ranks

	// The largest is sought and taken out k times: in place if once, otherwise in a copy, made
	// while it is sought first.
row:
	MOVQ SI, BX
	CMPQ R11, $1
	JEQ  begin
	MOVQ R12, BX
	MOVQ SI, AX
	MOVQ R12, DX
	MOVQ R10, CX
	SHRQ $3, CX
	VMOVUPS (SI), Y0
	VMOVAPS Y0, Y1
	VMOVAPS Y0, Y2
	VMOVAPS Y0, Y3

copyfour:
	CMPQ CX, $4
	JLT  copyfew
	VMOVUPS (AX), Y4
	VMOVUPS 32(AX), Y5
	VMOVUPS 64(AX), Y6
	VMOVUPS 96(AX), Y7
	VMOVUPS Y4, (DX)
	VMOVUPS Y5, 32(DX)
	VMOVUPS Y6, 64(DX)
	VMOVUPS Y7, 96(DX)
	VMAXPS Y4, Y0, Y0
	VMAXPS Y5, Y1, Y1
	VMAXPS Y6, Y2, Y2
	VMAXPS Y7, Y3, Y3
	ADDQ $128, AX
	ADDQ $128, DX
	SUBQ $4, CX
	JMP  copyfour

copyfew:
	TESTQ CX, CX
	JZ   copied
	VMOVUPS (AX), Y4
	VMOVUPS Y4, (DX)
	VMAXPS Y4, Y0, Y0
	ADDQ $32, AX
	ADDQ $32, DX
	DECQ CX
	JMP  copyfew

copied:
	MOVQ R11, R13
	JMP  merge

begin:
	MOVQ R11, R13

pass:
	MOVQ BX, DX
	MOVQ R10, CX
	SHRQ $3, CX
	VMOVUPS (DX), Y0
	CMPQ CX, $4
	JLT  few
	VMOVUPS 32(DX), Y1
	VMOVUPS 64(DX), Y2
	VMOVUPS 96(DX), Y3
	ADDQ $128, DX
	SUBQ $4, CX

four:
	CMPQ CX, $4
	JLT  merge
	VMAXPS (DX), Y0, Y0
	VMAXPS 32(DX), Y1, Y1
	VMAXPS 64(DX), Y2, Y2
	VMAXPS 96(DX), Y3, Y3
	ADDQ $128, DX
	SUBQ $4, CX
	JMP  four

merge:
	VMAXPS Y1, Y0, Y0
	VMAXPS Y3, Y2, Y2
	VMAXPS Y2, Y0, Y0

few:
	TESTQ CX, CX
	JZ   across
	VMAXPS (DX), Y0, Y0
	ADDQ $32, DX
	DECQ CX
	JMP  few

across:
	VEXTRACTF128 $1, Y0, X1
	VMAXPS X1, X0, X0
	VPERMILPS $0x4E, X0, X1
	VMAXPS X1, X0, X0
	VPERMILPS $0xB1, X0, X1
	VMAXPS X1, X0, X0
	VBROADCASTSS X0, Y0
	MOVQ BX, DX
	MOVQ R10, CX
	SHRQ $3, CX

seek:
	VCMPPS $0, (DX), Y0, Y1
	VMOVMSKPS Y1, AX
	TESTL AX, AX
	JNZ  found
	ADDQ $32, DX
	DECQ CX
	JNZ  seek
	MOVQ BX, DX // only where a row has NaN
	MOVL $1, AX

found:
	BSFL AX, AX
	SUBQ BX, DX
	SHRQ $2, DX
	ADDL DX, AX
	MOVL AX, (DI)
	ADDQ $4, DI
	DECQ R13
	JZ   next
	MOVL $0xff800000, (BX)(AX*4)
	JMP  pass

next:
	LEAQ (SI)(R10*4), SI
	DECQ R9
	JNZ  row
	VZEROUPPER
	RET

	// A row of eight is ranked at once, whatever k: each lane counts those that go before it.
ranks:
	VMOVUPS (SI), Y0
	VPXOR Y5, Y5, Y5
	AHEAD(1)
	AHEAD(2)
	AHEAD(3)
	AHEAD(4)
	AHEAD(5)
	AHEAD(6)
	AHEAD(7)
	VMOVDQU Y5, (R12)
	RANKED(0)
	RANKED(1)
	RANKED(2)
	RANKED(3)
	RANKED(4)
	RANKED(5)
	RANKED(6)
	RANKED(7)
	XORL CX, CX

take:
	MOVL 32(R12)(CX*4), AX
	MOVL AX, (DI)(CX*4)
	INCQ CX
	CMPQ CX, R11
	JLT  take
	LEAQ (DI)(R11*4), DI
	ADDQ $32, SI
	DECQ R9
	JNZ  ranks
	VZEROUPPER
	RET
