// Register use of all tile kernels: AX = a, R12 = row 6 of a, SI = rs, R10 = 3·rs, R11 = 5·rs, R8 =
// cs, BX = b, R9 = bs, DI = c, DX = ldc, CX = k, all strides in bytes; R13 walks over the rows of
// c.

#define ARGS \
	MOVQ k+0(FP), CX       \
	MOVQ a_base+8(FP), AX  \
	MOVQ rs+32(FP), SI     \
	MOVQ cs+40(FP), R8     \
	MOVQ b_base+48(FP), BX \
	MOVQ bs+72(FP), R9     \
	MOVQ c_base+80(FP), DI \
	MOVQ ldc+104(FP), DX   \
	SHLQ $2, SI            \
	SHLQ $2, R8            \
	SHLQ $2, R9            \
	SHLQ $2, DX            \
	LEAQ (SI)(SI*2), R10   \
	LEAQ (SI)(SI*4), R11   \
	LEAQ (AX)(R10*2), R12  \
	MOVQ DI, R13

// Rows 0 to 11 of a at the current k.
#define A0 (AX)
#define A1 (AX)(SI*1)
#define A2 (AX)(SI*2)
#define A3 (AX)(R10*1)
#define A4 (AX)(SI*4)
#define A5 (AX)(R11*1)
#define A6 (R12)
#define A7 (R12)(SI*1)
#define A8 (R12)(SI*2)
#define A9 (R12)(R10*1)
#define A10 (R12)(SI*4)
#define A11 (R12)(R11*1)

// NEXT goes to the next k, NEXT6 when R12 is in use, too.
#define NEXT \
	ADDQ R8, AX \
	ADDQ R9, BX

#define NEXT6 \
	NEXT        \
	ADDQ R8, R12

// Move one row of c to or from one or two registers and go to the next row.
#define GET1(x) \
	VMOVUPS (R13), x \
	ADDQ    DX, R13

#define PUT1(x) \
	VMOVUPS x, (R13) \
	ADDQ    DX, R13

#define ZERO3(x, y, z) \
	VXORPS x, x, x \
	VXORPS y, y, y \
	VXORPS z, z, z

#define ZERO4(w, x, y, z) \
	ZERO3(x, y, z) \
	VXORPS w, w, w
