// Offsets into the table of constants, whose address is in R8. The order is that of table_amd64.go.

#define LOG2E 0(R8)
#define MAGIC 32(R8)
#define LN2HI 64(R8)
#define LN2LO 96(R8)
#define Q0 128(R8)
#define Q1 160(R8)
#define Q2 192(R8)
#define Q3 224(R8)
#define Q4 256(R8)
#define EXPMAX 288(R8)
#define EXPMIN 320(R8)
#define ONE 352(R8)
#define NEGHALF 384(R8)
#define SILUMIN 416(R8)
#define SILUMAX 448(R8)
#define GELUMIN 480(R8)
#define GELUMAX 512(R8)
#define TAILSCALE 544(R8)
#define TAIL0 576(R8)
#define TAIL1 608(R8)
#define TAIL2 640(R8)
#define TAIL3 672(R8)
#define TAIL4 704(R8)
#define TAIL5 736(R8)
#define TAIL6 768(R8)
#define TAIL7 800(R8)
#define TAIL8 832(R8)
#define BELL0 864(R8)
#define MAGICBITS 896(R8)
#define BIAS 928(R8)
#define ABSMASK 960(R8)
#define SIGN 992(R8)

// EXP replaces Y0 by e^Y0, lane by lane as exp does, and spoils Y1 to Y3.
#define EXP \
	VMOVUPS EXPMAX, Y1 \
	VMINPS  Y0, Y1, Y0 \
	VMOVUPS EXPMIN, Y1 \
	VMAXPS  Y0, Y1, Y0 \
	VMULPS  LOG2E, Y0, Y1 \
	VADDPS  MAGIC, Y1, Y1 \
	VSUBPS  MAGIC, Y1, Y2 \
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
	VADDPS  ONE, Y3, Y3 \
	VPSUBD  MAGICBITS, Y1, Y1 \
	VPSRAD  $1, Y1, Y2 \
	VPSUBD  Y2, Y1, Y1 \
	VPADDD  BIAS, Y2, Y2 \
	VPSLLD  $23, Y2, Y2 \
	VPADDD  BIAS, Y1, Y1 \
	VPSLLD  $23, Y1, Y1 \
	VMULPS  Y2, Y3, Y0 \
	VMULPS  Y1, Y0, Y0

// SIGMOID sets Y6 to the sigmoid of Y4 and Y0 to e^-Y4; spoils Y1 to Y3.
#define SIGMOID \
	VXORPS  SIGN, Y4, Y0 \
	EXP \
	VADDPS  ONE, Y0, Y6 \
	VMOVUPS ONE, Y1 \
	VDIVPS  Y6, Y1, Y6

// NORMAL sets Y7 to Φ(Y4) and Y0 to e^(-Y4²/2); spoils Y1 to Y3, Y5 and Y6.
#define NORMAL \
	VANDPS    ABSMASK, Y4, Y5 \
	VMULPS    TAILSCALE, Y5, Y6 \
	VADDPS    ONE, Y6, Y6 \
	VMOVUPS   ONE, Y7 \
	VDIVPS    Y6, Y7, Y6 \
	VMULPS    NEGHALF, Y5, Y0 \
	VMULPS    Y5, Y0, Y0 \
	EXP \
	VMULPS    TAIL8, Y6, Y1 \
	VADDPS    TAIL7, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    TAIL6, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    TAIL5, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    TAIL4, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    TAIL3, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    TAIL2, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    TAIL1, Y1, Y1 \
	VMULPS    Y6, Y1, Y1 \
	VADDPS    TAIL0, Y1, Y1 \
	VMULPS    Y6, Y0, Y2 \
	VMULPS    Y1, Y2, Y2 \
	VSUBPS    Y2, Y7, Y7 \
	VXORPS    Y3, Y3, Y3 \
	VCMPPS    $1, Y3, Y4, Y3 \
	VBLENDVPS Y3, Y2, Y7, Y7
