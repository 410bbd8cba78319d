//go:build amd64 && !purego

#include "textflag.h"
#include "table_amd64.h"

// SLOPE sets Y4 to silu and Y6 to silu' of the eight numbers at SI; spoils Y0 to Y3 and Y5.
#define SLOPE \
	VMOVUPS SILUMIN, Y0  \
	VMAXPS  (SI), Y0, Y4 \
	SIGMOID              \
	VMULPS  Y6, Y0, Y0   \
	VMOVUPS SILUMAX, Y1  \
	VMINPS  Y4, Y1, Y5   \
	VMULPS  Y0, Y5, Y5   \
	VADDPS  ONE, Y5, Y5  \
	VMULPS  Y6, Y4, Y4   \
	VMULPS  Y5, Y6, Y6

// func expAVX2(dst []float32, x []float32, table *eight[float32])
TEXT ·expAVX2(SB), NOSPLIT, $0-56
	MOVQ dst_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ table+48(FP), R8
	MOVQ dst_len+8(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	VMOVUPS (SI), Y0
	EXP
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	DECQ CX
	JNZ  loop

done:
	VZEROUPPER
	RET

// func geluAVX2(dst []float32, x []float32, table *eight[float32])
TEXT ·geluAVX2(SB), NOSPLIT, $0-56
	MOVQ dst_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ table+48(FP), R8
	MOVQ dst_len+8(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	VMOVUPS GELUMIN, Y0
	VMAXPS  (SI), Y0, Y4
	NORMAL
	VMULPS  Y7, Y4, Y4
	VMOVUPS Y4, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	DECQ CX
	JNZ  loop

done:
	VZEROUPPER
	RET

// func geluGradAVX2(dst []float32, x []float32, dy []float32, table *eight[float32])
TEXT ·geluGradAVX2(SB), NOSPLIT, $0-80
	MOVQ dst_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ dy_base+48(FP), BX
	MOVQ table+72(FP), R8
	MOVQ dst_len+8(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	VMOVUPS GELUMIN, Y0
	VMAXPS  (SI), Y0, Y4
	VMOVUPS GELUMAX, Y0
	VMINPS  Y4, Y0, Y4
	NORMAL
	VMULPS  BELL0, Y0, Y0
	VMULPS  Y0, Y4, Y4
	VADDPS  Y4, Y7, Y7
	VMULPS  (BX), Y7, Y7
	VMOVUPS Y7, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	ADDQ $32, BX
	DECQ CX
	JNZ  loop

done:
	VZEROUPPER
	RET

// func siluAVX2(dst []float32, x []float32, table *eight[float32])
TEXT ·siluAVX2(SB), NOSPLIT, $0-56
	MOVQ dst_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ table+48(FP), R8
	MOVQ dst_len+8(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	VMOVUPS SILUMIN, Y0
	VMAXPS  (SI), Y0, Y4
	SIGMOID
	VMULPS  Y6, Y4, Y4
	VMOVUPS Y4, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	DECQ CX
	JNZ  loop

done:
	VZEROUPPER
	RET

// func swigluAVX2(dst []float32, gate []float32, up []float32, table *eight[float32])
TEXT ·swigluAVX2(SB), NOSPLIT, $0-80
	MOVQ dst_base+0(FP), DI
	MOVQ gate_base+24(FP), SI
	MOVQ up_base+48(FP), DX
	MOVQ table+72(FP), R8
	MOVQ dst_len+8(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	VMOVUPS SILUMIN, Y0
	VMAXPS  (SI), Y0, Y4
	SIGMOID
	VMULPS  Y6, Y4, Y4
	VMULPS  (DX), Y4, Y4
	VMOVUPS Y4, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	ADDQ $32, DX
	DECQ CX
	JNZ  loop

done:
	VZEROUPPER
	RET

// func siluGradAVX2(dst []float32, x []float32, dy []float32, table *eight[float32])
TEXT ·siluGradAVX2(SB), NOSPLIT, $0-80
	MOVQ dst_base+0(FP), DI
	MOVQ x_base+24(FP), SI
	MOVQ dy_base+48(FP), BX
	MOVQ table+72(FP), R8
	MOVQ dst_len+8(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	SLOPE
	VMULPS  (BX), Y6, Y6
	VMOVUPS Y6, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	ADDQ $32, BX
	DECQ CX
	JNZ  loop

done:
	VZEROUPPER
	RET

// func swigluGradAVX2(dGate []float32, dUp []float32, gate []float32, up []float32, dy []float32, table *eight[float32])
TEXT ·swigluGradAVX2(SB), NOSPLIT, $0-128
	MOVQ dGate_base+0(FP), DI
	MOVQ dUp_base+24(FP), R9
	MOVQ gate_base+48(FP), SI
	MOVQ up_base+72(FP), DX
	MOVQ dy_base+96(FP), BX
	MOVQ table+120(FP), R8
	MOVQ dGate_len+8(FP), CX
	SHRQ $3, CX
	JZ   done

loop:
	SLOPE
	VMOVUPS (BX), Y0
	VMULPS  (DX), Y0, Y1
	VMULPS  Y6, Y1, Y1
	VMULPS  Y4, Y0, Y0
	VMOVUPS Y1, (DI)
	VMOVUPS Y0, (R9)
	ADDQ $32, DI
	ADDQ $32, R9
	ADDQ $32, SI
	ADDQ $32, DX
	ADDQ $32, BX
	DECQ CX
	JNZ  loop

done:
	VZEROUPPER
	RET
