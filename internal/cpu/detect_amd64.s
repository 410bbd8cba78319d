//go:build !purego

#include "textflag.h"

// func extendedFeatures() (ecx uint32)
TEXT ·extendedFeatures(SB), NOSPLIT, $0-4
	MOVL  $7, AX
	XORL  CX, CX
	CPUID
	MOVL  CX, ecx+0(FP)
	RET
