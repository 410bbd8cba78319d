package expert

// Sizer is an expert that says what its passes keep in memory, for estimates: those of this package
// are known.
type Sizer interface {
	Expert
	// Numbers returns how many float32 numbers the experts keep of a row of dim columns from Forward
	// to Backward, besides the row and its answer; and how many Backward takes besides those and the
	// row's gradient.
	Numbers(dim int) (forward, backward int)
}
