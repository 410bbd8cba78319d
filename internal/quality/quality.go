// Package quality predicts what compression costs in quality: how far a layer's output and
// gradients are from those of float32 rows, and which share of what training gains is lost.
//
// The constants were measured on the byte model of examples/train (go run ./bench lsh -task
// errors), so they are a guide for other models. Errors are relative, ‖got − true‖/‖true‖. Squared
// errors of independent causes add, and so do lost shares.
package quality

import (
	"math"

	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Leg is one of the four exchanges of a training step.
type Leg int

const (
	Dispatch     Leg = iota // rows to experts
	Combine                 // answers to ranks
	DispatchBack            // gradients of answers to experts
	CombineBack             // gradients of rows to ranks

	legs int = iota
)

// Way is what travels on the four legs.
type Way struct {
	// Legs is the format of each leg.
	Legs [legs]quant.Format
	// Clusters travel forward in place of rows. The zero value stands for all rows.
	Clusters Clusters
	// ClusterGradients says that gradients travel as clusters too. Otherwise those of all rows do.
	ClusterGradients bool
}

// Everywhere is the way of all rows in one format.
func Everywhere(f quant.Format) Way { return Way{Legs: [legs]quant.Format{f, f, f, f}} }

// Errors are relative errors of what comes of a pass of a layer.
type Errors struct {
	// Output is that of the layer's output.
	Output float64
	// Weights is that of the gradients of experts' parameters, and Rows that of rows' gradients
	// through experts.
	Weights, Rows float64
}

// Errors predicts the errors of a way.
func (w Way) Errors() Errors {
	q := w.squares()
	return Errors{Output: math.Sqrt(q.Output), Weights: math.Sqrt(q.Weights), Rows: math.Sqrt(q.Rows)}
}

// squares are those of the errors. Where gradients of all rows travel beside clusters, experts'
// weights learn from those of the centroids' answers, which travel in the format of the answers.
func (w Way) squares() Errors {
	there, home, back, end := squareOf(w.Legs[Dispatch]), squareOf(w.Legs[Combine]), squareOf(w.Legs[DispatchBack]), squareOf(w.Legs[CombineBack])
	learned := back
	if w.Clusters.used() && !w.ClusterGradients {
		learned = home
	}
	c := w.Clusters.errors(w.ClusterGradients)
	return Errors{
		Output:  square(c.Output) + rowInOutput*there + home,
		Weights: square(c.Weights) + rowInWeights*there + gradientInWeights*learned,
		Rows:    square(c.Rows) + rowInRows*there + gradientInRows*back + end,
	}
}

// What fine-tuning loses of its gain for each unit of squared error. The gradients of experts'
// weights explain most of it, from fp8 to clusters that make the weights worse: bench lsh -task
// errors -losses fits 7.1 and 0.17 without the output. That of the output cannot be told from
// these, but is not nothing, as training sees other losses.
const lostOfOutput, lostOfWeights, lostOfRows = 0.5, 7, 0.17

// Lost predicts the share of training's gain that a way loses: 0 is none, 1 all of it, and more
// says that it makes the weights worse. It is the sum of what its legs lose, and clusters.
func (w Way) Lost() float64 {
	q := w.squares()
	return lostOfOutput*q.Output + lostOfWeights*q.Weights + lostOfRows*q.Rows
}

// BytesRatio is the bytes of rows of a number of columns on the four legs, divided by those of
// float32. Where rows' gradients travel beside clusters, so do those of the centroids' answers, in
// the format of the answers, and three bytes a row say to which centroid it belongs.
func (w Way) BytesRatio(columns int) float64 {
	var all float64
	for leg, f := range w.Legs {
		bytes := float64(f.Bytes(columns))
		if w.Clusters.used() && (Leg(leg) <= Combine || w.ClusterGradients) {
			bytes *= w.Clusters.rate()
		}
		all += bytes
	}
	if w.Clusters.used() && !w.ClusterGradients {
		const number = 3
		all += w.Clusters.rate()*float64(w.Legs[Combine].Bytes(columns)) + number
	}
	return all / float64(legs*quant.Float32.Bytes(columns))
}

func square(x float64) float64 { return x * x }
