package models

import (
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// Block describes the mixture-of-experts block of one layer of a model. Names of tensors are
// without Prefix; "%d" in a name stands for the number of an expert.
type Block struct {
	// Layer is the number of the layer in the model, from 0.
	Layer int
	// Prefix is what the names of all tensors of the layer begin with, as "model.layers.3.".
	Prefix string
	// Dim is the number of columns of the tokens.
	Dim int
	// Experts is the number of routed experts.
	Experts int
	// Routing says which expert takes which token.
	Routing Routing
	// Expert says what the routed experts compute.
	Expert Expert
	// Shared says what the shared expert computes; nil if there is none.
	Shared *Expert
}

// Routing describes a router.
type Routing struct {
	// TopK is the number of experts of a token.
	TopK int
	// Score says how weights come from logits. With [router.SoftmaxAfter] the weights are a softmax
	// over the chosen experts, which is a softmax over all of them, divided by the sum of those
	// chosen.
	Score router.Score
	// Normalize tells whether the weights of a token are divided by their sum.
	Normalize bool
	// Epsilon is added to that sum; 0 also stands for one that no float32 shows.
	Epsilon float32
	// Scale multiplies all weights; 0 stands for 1.
	Scale float32
	// SparseMixer is the threshold of a [router.SparseMixer], which then takes the place of Score,
	// Normalize and all that acts on the choice; 0 if there is none.
	SparseMixer float32
	// Groups is the number of expert groups, of which the KeptGroups best by GroupScore take a
	// token; 0 or 1 means no groups.
	Groups, KeptGroups int
	// GroupScore says how a group of experts is scored.
	GroupScore router.GroupScore
	// FillZero gives experts of other groups the score 0 in place of −∞.
	FillZero bool
	// Weight is the name of the matrix [Experts, Dim] of the logits.
	Weight string
	// LogitBias is the name of a vector of Experts numbers that is added to the logits; "" if there
	// is none.
	LogitBias string
	// Bias is the name of a vector of Experts numbers that is added to the scores for the choice
	// alone; "" if there is none.
	Bias string
}

// Expert describes what experts compute, and where their matrices lie.
type Expert struct {
	// Hidden is the number of hidden units.
	Hidden int
	// Alpha, Shift, Limit and LimitAct are as in [expert.GLU]: with all of them 0 the experts are
	// (silu(x·gate) ∘ (x·up))·down.
	Alpha, Shift, Limit float32
	LimitAct            bool
	// Scale multiplies the answers; 0 stands for 1.
	Scale float32
	// Gate, Up and Down are the matrices. The first two may have one name: [Matrix.Part] says which
	// half is whose.
	Gate, Up, Down Matrix
	// GateBias, UpBias and DownBias are what is added to the products; they have no names if there
	// are no biases.
	GateBias, UpBias, DownBias Matrix
	// OutputGate is a vector of Dim numbers whose product with a token, through a sigmoid, multiplies
	// the token's answer; it has no name if there is none.
	OutputGate Matrix
}

// Matrix says where the matrices of experts lie.
type Matrix struct {
	// Name is the name of the tensor: with "%d" it is one expert's, without it that of all, one
	// after the other.
	Name string
	// InputMajor tells that the matrix lies as [inputs, outputs], to be multiplied from the left
	// by rows, in place of [outputs, inputs].
	InputMajor bool
	// Part says which outputs of the tensor are those of the matrix.
	Part Part
	// Flat tells that a tensor of all experts has two dimensions, experts and rows being one.
	Flat bool
}

// Part is what a matrix has of a tensor's outputs.
type Part int

const (
	// Whole is all outputs.
	Whole Part = iota
	// FirstHalf is the first half of twice as many.
	FirstHalf
	// SecondHalf is the second half of twice as many.
	SecondHalf
	// Even is every other output of twice as many, from the first one on.
	Even
	// Odd is every other output of twice as many, from the second one on.
	Odd
)

// router returns the router of the block, whose bias is given, or nil.
func (r *Routing) router(bias []float32) router.Router {
	if r.SparseMixer > 0 {
		return router.SparseMixer{Threshold: r.SparseMixer}
	}
	top := router.TopK{K: r.TopK, Score: r.Score, Scale: r.Scale, Bias: bias, Epsilon: r.Epsilon, LogitBias: r.LogitBias != "", Renormalize: router.RenormalizeNever}
	if r.Normalize && r.Score != router.SoftmaxAfter {
		top.Renormalize = router.RenormalizeBeforeDrop
	}
	if r.Groups <= 1 {
		return top
	}
	return router.GroupLimited{TopK: top, Groups: r.Groups, Keep: r.KeptGroups, GroupScore: r.GroupScore, FillZero: r.FillZero}
}

// expert returns what computes the experts.
func (x *Expert) expert() expert.Expert {
	glu := expert.GLU{
		Hidden: x.Hidden, Alpha: x.Alpha, Shift: x.Shift, Limit: x.Limit, LimitAct: x.LimitAct, Scale: x.Scale,
		Biases: x.DownBias.Name != "", OutputGate: x.OutputGate.Name != "",
	}
	if glu == (expert.GLU{Hidden: x.Hidden}) {
		return expert.SwiGLU{Hidden: x.Hidden}
	}
	return glu
}
