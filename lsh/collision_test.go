package lsh

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// collisions hashes pairs of rows at an angle, under many rotations, and returns how many codes
// there were and how many were equal.
func collisions(t *testing.T, r *rand.Rand, cfg Config, dim int, angle float64, rotations, pairs int) (equal, all int) {
	cfg.Centre = Origin
	x := blas32.General{Rows: 2 * pairs, Cols: dim, Stride: dim, Data: make([]float32, 2*pairs*dim)}
	for range rotations {
		cfg.Seed = r.Uint64()
		h, err := NewHasher(cfg, dim)
		require.NoError(t, err)
		for i := range pairs {
			atAngle(r, mat.Row(x, 2*i), mat.Row(x, 2*i+1), angle)
		}
		codes := make([]uint32, 2*pairs*h.cfg.Hashes)
		h.Codes(codes, x)
		for i := range pairs {
			a := codes[2*i*h.cfg.Hashes:][:h.cfg.Hashes]
			for j, c := range codes[(2*i+1)*h.cfg.Hashes:][:h.cfg.Hashes] {
				all++
				if c == a[j] {
					equal++
				}
			}
		}
	}
	return equal, all
}

// atAngle draws two directions at an angle.
func atAngle(r *rand.Rand, a, b []float32, angle float64) {
	u, v := make([]float64, len(a)), make([]float64, len(a))
	uu, uv, vv := 0.0, 0.0, 0.0
	for i := range u {
		u[i], v[i] = r.NormFloat64(), r.NormFloat64()
		uu += u[i] * u[i]
		uv += u[i] * v[i]
	}
	for i := range v {
		v[i] -= uv / uu * u[i]
		vv += v[i] * v[i]
	}
	sin, cos := math.Sincos(angle)
	for i := range u {
		a[i] = float32(u[i] / math.Sqrt(uu))
		b[i] = float32(cos*u[i]/math.Sqrt(uu) + sin*v[i]/math.Sqrt(vv))
	}
}

// TestCollisionsFollowTheory compares the fast rotations with the theory of random ones, at angles
// from 0 to π. With -v it prints the table, for a plot: family, width, angle, theory, measured, and
// the half-width of the interval that the measured share would miss one time in two million if the
// theory were exact. The codes of one pair are not quite independent, and the theory has three
// digits: half a hundredth more is allowed for both together.
func TestCollisionsFollowTheory(t *testing.T) {
	r := seeded(t)
	rotations, pairs := 30, 40
	if testing.Short() {
		rotations = 12
	}
	t.Log("family,width,angle,theory,measured,bound")
	for _, c := range []struct {
		family Family
		width  int
	}{{CrossPolytope, 1}, {CrossPolytope, 2}, {CrossPolytope, 8}, {CrossPolytope, 32}, {Hyperplane, 1}, {Hyperplane, 4}} {
		for i := range 13 {
			angle := float64(i) / 12 * math.Pi
			equal, all := collisions(t, r, Config{Family: c.family, Width: c.width}, 200, angle, rotations, pairs)
			theory, measured := c.family.Collision(c.width, angle), float64(equal)/float64(all)
			bound := 5 * math.Sqrt(theory*(1-theory)/float64(all))
			t.Logf("%v,%d,%.4f,%.4f,%.4f,%.4f", c.family, c.width, angle, theory, measured, bound)
			require.InDelta(t, theory, measured, bound+0.005, "%v of width %d at %.3f", c.family, c.width, angle)
		}
	}
}

func TestCollisionWhereItIsKnown(t *testing.T) {
	for _, w := range []int{1, 2, 3, 8, 32} {
		require.InDelta(t, 1, CrossPolytope.Collision(w, 0), 1e-9)
		require.InDelta(t, 0, CrossPolytope.Collision(w, math.Pi), 1e-9)
		require.InDelta(t, 1/float64(2*w), CrossPolytope.Collision(w, math.Pi/2), 1e-3, "independent: every vertex is as likely")
	}
	// Two coordinates at angle θ: the direction in the plane turns, and a quarter of the circle is
	// a vertex's.
	require.InDelta(t, 0.25, Hyperplane.Collision(2, math.Pi/2), 1e-12)
	last := 1.0
	for i := range 30 {
		p := CrossPolytope.Collision(8, float64(i)/30*math.Pi)
		require.LessOrEqual(t, p, last+1e-3)
		last = p
	}
}
