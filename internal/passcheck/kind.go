package passcheck

import "fmt"

// Kind is what may be wrong in a pass: the rows that a rank has made.
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
)

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
	}
	if k <= nothing || int(k) >= len(names) {
		return fmt.Sprintf("rows of unknown kind %d", int(k))
	}
	return names[k]
}

// op is the pass in which they are made.
func (k Kind) op() string {
	switch k {
	case clusters, Mixtures, Centroids, Answers:
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
	case Answers, RowGradients:
		return 2
	}
	return 0
}

// word is what a rank tells the others: a kind, and in the lower bits a row. 0 is nothing.
type word uint64

const rowBits = 56

func wordOf(k Kind, row int) word { return word(k)<<rowBits | word(row) }

func (w word) kind() Kind { return Kind(w >> rowBits) }

func (w word) row() int { return int(w & (1<<rowBits - 1)) }
