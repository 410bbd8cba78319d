package lsh

import "math/bits"

// Family is a kind of locality-sensitive hash of the directions of rows.
type Family int

const (
	// CrossPolytope gives the vertex of the cross-polytope {±e₁ … ±e_w} that is nearest to the w
	// coordinates which a rotation made: the largest of them in magnitude, and its sign. (Andoni et
	// al. 2015; the paper's choice.)
	CrossPolytope Family = iota
	// Hyperplane gives the signs of those w coordinates: on which side of w hyperplanes a row lies.
	// (Charikar 2002.)
	Hyperplane

	families int = iota
)

// String returns the family's name.
func (f Family) String() string { return nameOf(int(f), "Family", "cross-polytope", "hyperplane") }

// width is the default of Config.Width. Both families then have 16 values.
func (f Family) width() int {
	if f == Hyperplane {
		return 4
	}
	return 8
}

// bits is the number of bits of a code.
func (f Family) bits(width int) int {
	if f == Hyperplane {
		return width
	}
	return 1 + bits.Len(uint(width-1))
}
