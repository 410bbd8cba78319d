package quality

import "github.com/switchyard-moe/switchyard/internal/quant"

// rounding is the relative error of rows that are written in a format: of answers of experts in the
// model that bench lsh -task errors measures.
var rounding = map[quant.Format]float64{
	quant.BF16:        0.0016,
	quant.FP16:        0.0002,
	quant.FP8:         0.025,
	quant.Int8:        0.006,
	quant.FP8Expanded: 0.014,
	quant.MXFP8:       0.0255,
	quant.MXFP4:       0.107,
	quant.NVFP4:       0.091,
	quant.Int4:        0.102,
	quant.MXFP4H:      0.109,
	quant.NVFP4H:      0.091,
	quant.Int4H:       0.104,
}

// Shares of a leg's squared error that are left in what comes of the pass: of a row in the answer
// of its expert, in the gradients of experts' weights and, since the expert takes its derivative at
// the rounded row, in that of the row; and of an answer's gradient in those of weights and of the
// row. Measured with NVFP4 on one leg at a time, over 65,536 tokens; what reaches weights is less
// with fp8 and was made the mean of formats.
const (
	rowInOutput, rowInWeights, rowInRows = 0.43, 0.30, 0.43
	gradientInWeights, gradientInRows    = 0.50, 0.49
)

// squareOf is the squared error of a format; that of an unknown one is 0.
func squareOf(f quant.Format) float64 { return square(rounding[f]) }

// LostLeg predicts the share of the gain that is lost if all rows of a leg travel in a format: in
// proportion to the share of the rows that does.
func LostLeg(l Leg, f quant.Format) float64 {
	var w Way
	w.Legs[l] = f
	return w.Lost()
}
