package gemm

import (
	"testing"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/guardpage"
)

func enclose(t *testing.T, m *blas32.General, before bool) {
	data := guardpage.Float32(t, len(m.Data), before)
	copy(data, m.Data)
	m.Data = data
}

// TestStaysInside puts all operands next to pages whose touch kills the test.
func TestStaysInside(t *testing.T) {
	r := seeded(t)
	for i := range 120 {
		p := newProblem(r, side(r, 60), side(r, 300), side(r, 100))
		want := p.byDefinition()
		enclose(t, &p.a, i%2 == 0)
		enclose(t, &p.b, i%2 == 0)
		enclose(t, &p.c, i%2 == 0)
		for _, s := range runnable() {
			c := p.c
			saved := append([]float32(nil), c.Data...)
			p.into(s, c)
			requireBits(t, want.Data, c.Data, "%s %v", s.name, p)
			copy(c.Data, saved)
		}
	}
}
