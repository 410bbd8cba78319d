//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// bitVPCLMULQDQ is its bit of the extended features, which x/sys/cpu reads only beside AVX-512.
const bitVPCLMULQDQ = 1 << 10

// extendedFeatures returns ECX of CPUID's leaf 7, which every processor with AVX2 has.
func extendedFeatures() (ecx uint32)

func detect() Features {
	var f Features
	for _, known := range []struct {
		feature Features
		present bool
	}{
		{AVX2, cpu.X86.HasAVX2},
		{FMA, cpu.X86.HasFMA},
		{PCLMULQDQ, cpu.X86.HasPCLMULQDQ},
		{VPCLMULQDQ, cpu.X86.HasAVX2 && extendedFeatures()&bitVPCLMULQDQ != 0},
		{AVX512F, cpu.X86.HasAVX512F},
		{AVX512DQ, cpu.X86.HasAVX512DQ},
		{AVX512VL, cpu.X86.HasAVX512VL},
		{AVX512VPCLMULQDQ, cpu.X86.HasAVX512VPCLMULQDQ},
	} {
		if known.present {
			f |= known.feature
		}
	}
	return f
}
