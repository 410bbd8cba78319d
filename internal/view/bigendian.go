//go:build armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64

package view

// On a big-endian machine the views would be in the wrong order: the undefined name stops the compiler.
const _ = switchyardNeedsALittleEndianMachine
