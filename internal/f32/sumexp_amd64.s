//go:build amd64 && !purego

#include "textflag.h"
#include "table_amd64.h"

// ADDEXP adds e^(x-Y4) of the eight elements at an offset to an accumulator. It is EXP for what is
// at most 0: no upper limit, and a lower one in Y5 with a normal result, so that the power of two
// can be added to the exponent. The limits of EXP would be lost in a sum of 1 and more all the
// same.
#define ADDEXP(offset, acc) \
	VMOVUPS offset(SI), Y0 \
	VSUBPS  Y4, Y0, Y0 \
	VMAXPS  Y5, Y0, Y0 \
	VMULPS  Y6, Y0, Y1 \
	VADDPS  Y7, Y1, Y1 \
	VSUBPS  Y7, Y1, Y2 \
	VMULPS  LN2HI, Y2, Y3 \
	VSUBPS  Y3, Y0, Y0 \
	VMULPS  LN2LO, Y2, Y3 \
	VSUBPS  Y3, Y0, Y0 \
	VMULPS  Q4, Y0, Y2 \
	VADDPS  Q3, Y2, Y2 \
	VMULPS  Y0, Y2, Y2 \
	VADDPS  Q2, Y2, Y2 \
	VMULPS  Y0, Y2, Y2 \
	VADDPS  Q1, Y2, Y2 \
	VMULPS  Y0, Y2, Y2 \
	VADDPS  Q0, Y2, Y2 \
	VMULPS  Y0, Y0, Y3 \
	VMULPS  Y2, Y3, Y3 \
	VADDPS  Y0, Y3, Y3 \
	VADDPS  Y12, Y3, Y3 \
	VPSLLD  $23, Y1, Y1 \
	VPADDD  Y1, Y3, Y0 \
	VADDPS  Y0, acc, acc

DATA lowest<>+0(SB)/4, $0xc2ae0000 // -87
GLOBL lowest<>(SB), RODATA|NOPTR, $4

// func sumExpRowsAVX2(sum, x, top []float32, cols int, table *eight[float32])
TEXT ·sumExpRowsAVX2(SB), NOSPLIT, $0-88
	MOVQ sum_base+0(FP), DI
	MOVQ sum_len+8(FP), R9
	MOVQ x_base+24(FP), SI
	MOVQ top_base+48(FP), R11
	MOVQ cols+72(FP), R10
	MOVQ table+80(FP), R8
	VBROADCASTSS lowest<>(SB), Y5
	VMOVUPS LOG2E, Y6
	VMOVUPS MAGIC, Y7
	VMOVUPS ONE, Y12

row:
	VBROADCASTSS (R11), Y4
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11
	MOVQ R10, CX

four:
	CMPQ CX, $32
	JLT  rest
	ADDEXP(0, Y8)
	ADDEXP(32, Y9)
	ADDEXP(64, Y10)
	ADDEXP(96, Y11)
	ADDQ $128, SI
	SUBQ $32, CX
	JMP  four

rest:
	TESTQ CX, CX
	JZ   fold
	ADDEXP(0, Y8)
	ADDQ $32, SI
	SUBQ $8, CX
	JZ   fold
	ADDEXP(0, Y9)
	ADDQ $32, SI
	SUBQ $8, CX
	JZ   fold
	ADDEXP(0, Y10)
	ADDQ $32, SI

fold:
	VADDPS Y10, Y8, Y8
	VADDPS Y11, Y9, Y9
	VADDPS Y9, Y8, Y8
	VEXTRACTF128 $1, Y8, X0
	VADDPS X0, X8, X8
	VPERMILPS $0x4E, X8, X0
	VADDPS X0, X8, X8
	VPERMILPS $0xB1, X8, X0
	VADDPS X0, X8, X8
	VMOVSS X8, (DI)
	ADDQ $4, DI
	ADDQ $4, R11
	DECQ R9
	JNZ  row
	VZEROUPPER
	RET

// ADDEXP512 is ADDEXP of sixteen elements, with the constants in registers.
#define ADDEXP512(offset, acc) \
	VMOVUPS offset(SI), Z0 \
	VSUBPS  Z4, Z0, Z0 \
	VMAXPS  Z5, Z0, Z0 \
	VMULPS  Z6, Z0, Z1 \
	VADDPS  Z7, Z1, Z1 \
	VSUBPS  Z7, Z1, Z2 \
	VMULPS  Z13, Z2, Z3 \
	VSUBPS  Z3, Z0, Z0 \
	VMULPS  Z14, Z2, Z3 \
	VSUBPS  Z3, Z0, Z0 \
	VMULPS  Z20, Z0, Z2 \
	VADDPS  Z19, Z2, Z2 \
	VMULPS  Z0, Z2, Z2 \
	VADDPS  Z18, Z2, Z2 \
	VMULPS  Z0, Z2, Z2 \
	VADDPS  Z17, Z2, Z2 \
	VMULPS  Z0, Z2, Z2 \
	VADDPS  Z16, Z2, Z2 \
	VMULPS  Z0, Z0, Z3 \
	VMULPS  Z2, Z3, Z3 \
	VADDPS  Z0, Z3, Z3 \
	VADDPS  Z12, Z3, Z3 \
	VPSLLD  $23, Z1, Z1 \
	VPADDD  Z1, Z3, Z0 \
	VADDPS  Z0, acc, acc

// func sumExpRowsAVX512(sum, x, top []float32, cols int, table *eight[float32])
TEXT ·sumExpRowsAVX512(SB), NOSPLIT, $0-88
	MOVQ sum_base+0(FP), DI
	MOVQ sum_len+8(FP), R9
	MOVQ x_base+24(FP), SI
	MOVQ top_base+48(FP), R11
	MOVQ cols+72(FP), R10
	MOVQ table+80(FP), R8
	VBROADCASTSS lowest<>(SB), Z5
	VBROADCASTSS LOG2E, Z6
	VBROADCASTSS MAGIC, Z7
	VBROADCASTSS ONE, Z12
	VBROADCASTSS LN2HI, Z13
	VBROADCASTSS LN2LO, Z14
	VBROADCASTSS Q0, Z16
	VBROADCASTSS Q1, Z17
	VBROADCASTSS Q2, Z18
	VBROADCASTSS Q3, Z19
	VBROADCASTSS Q4, Z20

row:
	VBROADCASTSS (R11), Z4
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	MOVQ R10, CX

two:
	CMPQ CX, $32
	JLT  rest
	ADDEXP512(0, Z8)
	ADDEXP512(64, Z9)
	ADDQ $128, SI
	SUBQ $32, CX
	JMP  two

rest:
	TESTQ CX, CX
	JZ   fold
	ADDEXP512(0, Z8)
	ADDQ $64, SI

fold:
	VADDPS Z9, Z8, Z8
	VEXTRACTF64X4 $1, Z8, Y0
	VADDPS Y0, Y8, Y8
	VEXTRACTF128 $1, Y8, X0
	VADDPS X0, X8, X8
	VPERMILPS $0x4E, X8, X0
	VADDPS X0, X8, X8
	VPERMILPS $0xB1, X8, X0
	VADDPS X0, X8, X8
	VMOVSS X8, (DI)
	ADDQ $4, DI
	ADDQ $4, R11
	DECQ R9
	JNZ  row
	VZEROUPPER
	RET
