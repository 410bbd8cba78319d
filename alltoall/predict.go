package alltoall

import "time"

// Costs predicts the time of rounds, by which [Auto] chooses. All ranks have the same. Package
// links has one, of links that it measures.
type Costs interface {
	// Round predicts the time of a round on the rank that is slowest.
	Round(r UniformRound) time.Duration
	// Validate returns an error if nothing can be predicted from the costs.
	Validate() error
}

// UniformRound is a round in which each rank has a message of the same length for each other.
type UniformRound struct {
	Algorithm Algorithm
	Topology  Topology
	Ranks     int
	// Bytes is the length of a message.
	Bytes int
	// Crossing is the share of the bytes between nodes that has to cross, from 0 to 1.
	Crossing float64
}

// Share is the share of rows that remains if a token travels once: of the rows between nodes if it
// travels to each node once, and of all rows if it travels to each rank once. It is 1 if no token
// has two experts there.
type Share struct{ Nodes, Ranks float64 }

// Prediction is the time of a dispatch by an algorithm, and of the combine that follows, on the
// rank that is slowest.
type Prediction struct {
	Algorithm         Algorithm
	Dispatch, Combine time.Duration
}

func (p Prediction) sum() time.Duration { return p.Dispatch + p.Combine }

// Predict returns the time that is predicted of each algorithm if all messages have the given
// length and the given share of rows remains without repeated tokens. Without [Config.Costs] all
// are 0.
func (x *Exchange) Predict(bytes int, share Share) []Prediction {
	return x.chooser.predict(bytes, share)
}
