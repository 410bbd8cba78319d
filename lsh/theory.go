package lsh

import "math"

// Collision returns the probability that one hash of width coordinates gives two rows the same code
// if the angle between them, measured from the origin of the hash, is angle radians, from 0 to π.
// It holds for random rotations, which the fast rotations of this package approximate.
//
// For hyperplanes it is (1 − angle/π)^width (Goemans and Williamson 1995). For a cross-polytope it
// is the integral over one pair (u, v) of correlated normal coordinates of the same sign, that all
// others be smaller in magnitude, times the 2·width vertices:
//
//	2w ∫∫ φ(u, v) · P(|X| < u, |Y| < v)^(w−1) du dv,   u, v > 0
//
// computed to about three digits.
func (f Family) Collision(width int, angle float64) float64 {
	sin, cos := math.Sincos(angle)
	switch {
	case f == Hyperplane || width == 1:
		return math.Pow(1-angle/math.Pi, float64(width))
	case sin < 1e-6:
		return (1 + math.Copysign(1, cos)) / 2
	}
	const steps, limit = 96, 5.0
	const du, dz = limit / steps, 2 * limit / steps
	sum := 0.0
	for i := range steps {
		u := (float64(i) + 0.5) * du
		for j := range steps {
			z := (float64(j)+0.5)*dz - limit
			if v := cos*u + sin*z; v > 0 {
				sum += normal(u) * normal(z) * math.Pow(within(u, v, cos, sin), float64(width-1))
			}
		}
	}
	return 2 * float64(width) * sum * du * dz
}

// normal is the density of the standard normal distribution.
func normal(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }

// within is P(|X| < u, |Y| < v) of standard normal X and Y with correlation cos.
func within(u, v, cos, sin float64) float64 {
	const steps = 48
	dx, sum := 2*u/steps, 0.0
	for i := range steps {
		x := (float64(i)+0.5)*dx - u
		sum += normal(x) * (math.Erf((v-cos*x)/(sin*math.Sqrt2)) - math.Erf((-v-cos*x)/(sin*math.Sqrt2))) / 2
	}
	return sum * dx
}
