package gemm

import (
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

// fenced returns room for n floats that ends where the next page cannot be touched, or with before, begins right
// after one that cannot.
func fenced(t *testing.T, n int, before bool) []float32 {
	page := syscall.Getpagesize()
	size := (4*n + page - 1) &^ (page - 1)
	mem, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(mem)) })
	require.NoError(t, syscall.Mprotect(mem[:page], syscall.PROT_NONE))
	require.NoError(t, syscall.Mprotect(mem[page+size:], syscall.PROT_NONE))
	at := page
	if !before {
		at += size - 4*n
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&mem[at])), n)
}

func fence(t *testing.T, m *blas32.General, before bool) {
	data := fenced(t, max(len(m.Data), 1), before)[:len(m.Data)]
	copy(data, m.Data)
	m.Data = data
}

// TestStaysInside puts all operands next to pages whose touch kills the test.
func TestStaysInside(t *testing.T) {
	r := seeded(t)
	for i := range 120 {
		p := newProblem(r, side(r, 60), side(r, 300), side(r, 100))
		want := p.byDefinition()
		fence(t, &p.a, i%2 == 0)
		fence(t, &p.b, i%2 == 0)
		fence(t, &p.c, i%2 == 0)
		for _, s := range sets() {
			c := p.c
			saved := append([]float32(nil), c.Data...)
			p.into(s, c)
			requireBits(t, want.Data, c.Data, "%s %v", s.name, p)
			copy(c.Data, saved)
		}
	}
}
