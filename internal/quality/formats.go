package quality

import "github.com/switchyard-moe/switchyard/internal/quant"

// rounding is the relative error of rows that are written in a format. A rotation by a Hadamard
// matrix changes it only where rows have outliers.
var rounding = map[quant.Format]float64{
	quant.BF16:        0.0017,
	quant.FP16:        0.0002,
	quant.FP8:         0.026,
	quant.Int8:        0.007,
	quant.FP8Expanded: 0.026,
	quant.MXFP8:       0.027,
	quant.MXFP4:       0.117,
	quant.NVFP4:       0.095,
	quant.Int4:        0.108,
	quant.MXFP4H:      0.117,
	quant.NVFP4H:      0.095,
	quant.Int4H:       0.108,
}

// slope is the share of a row's squared error that reaches the answer of an expert: with NVFP4 on
// both legs, output errors of 0.11 come from rounding errors of 0.095.
const slope = 0.29

// averaged is the share of the squared errors of rows and gradients that is left in the gradients
// of parameters, which are sums over rows.
const averaged = 0.3

// lostForward is what the squared error of outputs loses where all rows travel, and lostBackward
// what that of rows' gradients does: NVFP4 on all legs loses 0.04, MXFP4 0.07, and training without
// any gradient of rows through experts 0.33.
const lostForward, lostBackward = 2.9, 0.33

// squareOf is the squared error of a format; that of an unknown one is 0.
func squareOf(f quant.Format) float64 { return square(rounding[f]) }

// LostLeg predicts the share of the gain that is lost if all rows of a leg travel in a format: in
// proportion to the share of the rows that does.
func LostLeg(l Leg, f quant.Format) float64 {
	switch l {
	case Dispatch:
		return lostForward * slope * squareOf(f)
	case Combine:
		return lostForward * squareOf(f)
	}
	return lostBackward * squareOf(f)
}
