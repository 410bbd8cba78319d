package passcheck

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/transport"
)

// Kind is what may be wrong in a pass: the rows that a rank has made or sent.
type Kind int

const (
	nothing         Kind = iota
	clusters             // of Compression.Assign
	outputGradients      // dy
	// Mixtures are the mixtures of the rank's tokens that go to experts.
	Mixtures
	// Centroids stand for the rank's rows.
	Centroids
	// Answers are those of the rank's experts to rows of any rank.
	Answers
	// AnswerGradients are the gradients of the answers to the rank's rows.
	AnswerGradients
	// CentroidGradients are the gradients of the answers to the rank's centroids.
	CentroidGradients
	// RowGradients are those of the rows of any rank, by the rank's experts.
	RowGradients
	// Rows are those that have come to their experts, and RowAnswers the answers that have come
	// back.
	Rows
	RowAnswers
	// ExpertGradients are the gradients of answers that have come to the experts, and
	// ReturnedGradients those of rows that have come back.
	ExpertGradients
	ReturnedGradients
	// AllExpertGradients and AllReturnedGradients are those of all rows, beside centroids.
	AllExpertGradients
	AllReturnedGradients

	hooks = 16 // of the first hook of a forward pass
)

// Hook is what the hook of a point has made of its rows, by its number in hook.Points.
func Hook(backward bool, point int) Kind {
	if backward {
		point += hook.Number
	}
	return hooks + Kind(point)
}

// isHook reports whether a kind is of a hook, of a backward pass or not, and of which.
func (k Kind) isHook() (is, backward bool, point int) {
	i := int(k - hooks)
	if i < 0 || i >= 2*hook.Number {
		return false, false, 0
	}
	return true, i >= hook.Number, i % hook.Number
}

// hookName is the name of its field in a layer's configuration.
func (k Kind) hookName() string {
	_, backward, point := k.isHook()
	if backward {
		return "Config.Hooks.Backward." + hook.Name(point)
	}
	return "Config.Hooks.Forward." + hook.Name(point)
}

// String names the rows in errors.
func (k Kind) String() string {
	names := [...]string{
		clusters:          "its clusters",
		outputGradients:   "dy",
		Mixtures:          "the mixtures of its tokens",
		Centroids:         "the centroids of its rows",
		Answers:           "its experts' answers",
		AnswerGradients:   "the gradients of answers",
		CentroidGradients: "the gradients of centroids' answers",
		RowGradients:      "its experts' gradients of rows",
		Rows:              "the rows that it sent",
		RowAnswers:        "the answers that it sent",
		ExpertGradients:   "the gradients of answers that it sent",
		ReturnedGradients: "the gradients of rows that it sent",

		AllExpertGradients:   "the gradients of all rows' answers that it sent",
		AllReturnedGradients: "the gradients of all rows that it sent",
	}
	if is, _, _ := k.isHook(); is {
		return "the rows of its " + k.hookName()
	}
	if k <= nothing || int(k) >= len(names) {
		return fmt.Sprintf("rows of unknown kind %d", int(k))
	}
	return names[k]
}

// op is the pass in which they are made.
func (k Kind) op() string {
	switch k {
	case clusters, Mixtures, Centroids, Answers, Rows, RowAnswers:
		return "forward"
	}
	if is, backward, _ := k.isHook(); is && !backward {
		return "forward"
	}
	return "backward"
}

// stage orders kinds in a pass: rows of one stage may be made of those of an earlier one, of other
// ranks too, and not of others of the same stage.
func (k Kind) stage() int {
	switch k {
	case CentroidGradients: // of a node's ranks, if rows are gathered
		return 1
	case Rows, ExpertGradients, AllExpertGradients:
		return 3
	case Answers, RowGradients:
		return 5
	case RowAnswers, ReturnedGradients, AllReturnedGradients:
		return 7
	}
	if is, _, point := k.isHook(); is {
		return [hook.Number]int{0, 2, 4, 6, 8, 9}[point]
	}
	return 0
}

// codec is that of the leg on which rows that have travelled did.
func (s *Stage) codec(k Kind) fmt.Stringer {
	far := s.codecIn(s.Wire, k)
	if s.Wire.Within == nil {
		return far
	}
	near := s.codecIn(*s.Wire.Within, k)
	if near.String() == far.String() {
		return far
	}
	return ofTwo(fmt.Sprintf("%v between nodes, %v within", far, near))
}

// ofTwo names the codecs of a leg on which those of links differ.
type ofTwo string

func (c ofTwo) String() string { return string(c) }

// codecIn is codec if a wire is that of all links.
func (s *Stage) codecIn(w alltoall.Wire, k Kind) alltoall.Codec {
	switch legs := w.Legs(); k {
	case Rows:
		return legs[0]
	case RowAnswers:
		return legs[1]
	case ExpertGradients:
		return legs[2]
	case ReturnedGradients:
		return legs[3]
	case AllExpertGradients, AllReturnedGradients:
		if s.Gradients != nil {
			return s.Gradients
		}
	}
	return alltoall.Float32
}

// travelled reports whether the rows were found where they arrived.
func (k Kind) travelled() bool { return k >= Rows && k <= AllReturnedGradients }

// word is what a rank tells the others: a kind, and in the lower bits a row, or of rows that have
// travelled the rank that sent them. 0 is nothing.
type word uint64

const (
	rowBits = 56
	// failed is the row of a hook that has returned an error.
	failed = 1<<rowBits - 1
)

func wordOf(k Kind, row int) word { return word(k)<<rowBits | word(row) }

// hookFailed reports whether a hook has returned an error.
func (w word) hookFailed() bool {
	is, _, _ := w.kind().isHook()
	return is && w&failed == failed
}

func (w word) kind() Kind { return Kind(w >> rowBits) }

// culprit is the rank to blame for what a rank has found. A peer may send any word.
func (w word) culprit(finder transport.Rank, ranks int) transport.Rank {
	if w.kind().travelled() && w&(1<<rowBits-1) < word(ranks) {
		return transport.Rank(w.row())
	}
	return finder
}

func (w word) row() int { return int(w & (1<<rowBits - 1)) }
