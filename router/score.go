package router

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Score says how the weights of a token's chosen experts are computed from its logits.
type Score int

const (
	// SoftmaxAfter is the softmax over the chosen experts' logits, taken after the choice: the
	// weights of a token sum to 1, and a lone expert's is 1, without gradient. (Mixtral; Megatron's
	// default.)
	SoftmaxAfter Score = iota
	// SoftmaxBefore is the softmax over all experts, of which the chosen ones keep their shares.
	// (Switch, GShard, OLMoE; Megatron's pre-softmax.)
	SoftmaxBefore
	// Sigmoid is the logistic function of each chosen logit, divided by its sum over the chosen
	// if there are several. (DeepSeek-V3, Megatron.)
	Sigmoid
	// SqrtSoftplus is √ln(1 + e^logit) of each chosen logit, divided by its sum over the chosen
	// if there are several. Unlike the sigmoid it does not level off. (DeepSeek-V4, Megatron.)
	SqrtSoftplus

	scores int = iota
)

// String returns the score's name.
func (s Score) String() string {
	switch s {
	case SoftmaxAfter:
		return "softmax after"
	case SoftmaxBefore:
		return "softmax before"
	case Sigmoid:
		return "sigmoid"
	case SqrtSoftplus:
		return "sqrt softplus"
	}
	return fmt.Sprintf("Score(%d)", int(s))
}

// scoring is what a [Score] computes, for one token at a time.
type scoring interface {
	// score fills dst with every expert's score. It grows with the logit, so that both choose alike.
	score(dst, logits []float32)
	// weigh fills raw with the weights of the chosen experts, before renormalisation. scores is as
	// score left it, or nil if forAll says that weigh and backward can do without.
	weigh(raw []float32, t token)
	// backward adds to dlogits the gradient for draw, the gradient with respect to raw, and dshare.
	// dshare is the gradient with respect to the scores divided by their sum over all experts, or
	// nil if no loss has any. Neither may be changed.
	backward(dlogits, draw, dshare []float32, t token)
	// forAll tells whether weigh reads the scores.
	forAll() bool
	// normalize tells whether weights are divided by their sum unless the user says otherwise.
	normalize() bool
	// rate is such that a small score is e^(rate·logit) times a factor that all experts share.
	rate() float32
}

// token is what is known of one token: the logits and scores of all experts, those chosen, and
// their raw weights; and memory of one element an expert, of any value.
type token struct {
	logits, scores []float32
	chosen         []int32
	raw, scratch   []float32
}

// scoring returns what s computes.
func (s Score) scoring() scoring {
	switch s {
	case SoftmaxBefore:
		return softmaxBefore{}
	case Sigmoid:
		return sigmoids{}
	case SqrtSoftplus:
		return sqrtSoftplus{}
	}
	return softmaxAfter{}
}

type softmaxAfter struct{}

func (softmaxAfter) forAll() bool    { return false }
func (softmaxAfter) normalize() bool { return false }
func (softmaxAfter) rate() float32   { return 1 }

func (softmaxAfter) score(dst, logits []float32) { softmax(dst, logits) }

func (softmaxAfter) weigh(raw []float32, t token) {
	for j, e := range t.chosen {
		raw[j] = t.logits[e]
	}
	softmax(raw, raw)
}

func (softmaxAfter) backward(dlogits, draw, dshare []float32, t token) {
	mean := dot(t.raw, draw)
	for j, e := range t.chosen {
		dlogits[e] += float32(float64(t.raw[j]) * (float64(draw[j]) - mean))
	}
	if dshare != nil {
		softmaxBackward(dlogits, t.scores, dshare)
	}
}

type softmaxBefore struct{}

func (softmaxBefore) forAll() bool    { return true }
func (softmaxBefore) normalize() bool { return false }
func (softmaxBefore) rate() float32   { return 1 }

func (softmaxBefore) score(dst, logits []float32) { softmax(dst, logits) }

func (softmaxBefore) weigh(raw []float32, t token) {
	for j, e := range t.chosen {
		raw[j] = t.scores[e]
	}
}

func (softmaxBefore) backward(dlogits, draw, dshare []float32, t token) {
	mean := dot(t.raw, draw)
	if dshare != nil {
		mean += dot(t.scores, dshare)
	}
	for j, e := range t.chosen {
		dlogits[e] += float32(float64(t.raw[j]) * float64(draw[j]))
	}
	for e, p := range t.scores {
		d := -mean
		if dshare != nil {
			d += float64(dshare[e])
		}
		dlogits[e] += float32(float64(p) * d)
	}
}

type sigmoids struct{}

func (sigmoids) forAll() bool    { return false }
func (sigmoids) normalize() bool { return true }
func (sigmoids) rate() float32   { return 1 }

func (sigmoids) score(dst, logits []float32) { f32.Sigmoid(dst, logits) }

func (sigmoids) weigh(raw []float32, t token) {
	for j, e := range t.chosen {
		raw[j] = t.logits[e]
	}
	f32.Sigmoid(raw, raw)
}

func (sigmoids) backward(dlogits, draw, dshare []float32, t token) {
	for j, e := range t.chosen {
		dlogits[e] += float32(float64(draw[j]) * slope(t.raw[j]))
	}
	sharesBackward(dlogits, dshare, t, sigmoids{}.rate(), func(e int) float64 { return slope(t.scores[e]) })
}

// sharesBackward adds to dlogits the gradient for dshare if scores are independent of each other;
// slope is the derivative of expert e's score, and rate that at which scores fade.
func sharesBackward(dlogits, dshare []float32, t token, rate float32, slope func(e int) float64) {
	if dshare == nil {
		return
	}
	total := sum(t.scores)
	if total < tinySum {
		for e, v := range t.logits {
			t.scratch[e] = rate * v
		}
		softmax(t.scratch, t.scratch)
		mean := dot(t.scratch, dshare)
		for e, share := range t.scratch {
			dlogits[e] += float32(float64(rate) * float64(share) * (float64(dshare[e]) - mean))
		}
		return
	}
	mean := dot(t.scores, dshare) / total
	for e := range t.scores {
		dlogits[e] += float32((float64(dshare[e]) - mean) / total * slope(e))
	}
}

// slope is the derivative of the sigmoid where its value is s.
func slope(s float32) float64 { return float64(s) * (1 - float64(s)) }
