package schedule

// Work is how much a task has to do: how often something is started, which costs α each time, and how large it is (elements,
// bytes or multiply-adds), which costs β a piece. A task with no work at all is left out of a graph.
type Work struct {
	Starts, Size float64
}

// Times returns the work done f times over.
func (w Work) Times(f float64) Work { return Work{w.Starts * f, w.Size * f} }

// Linear is the cost of an operation: Alpha for each start and Beta for each unit of size, in seconds.
type Linear struct {
	Alpha float64 `json:"alpha"`
	Beta  float64 `json:"beta"`
}

// Time returns the seconds that w takes.
func (l Linear) Time(w Work) float64 { return w.Starts*l.Alpha + w.Size*l.Beta }

// Fits returns the largest size that one start brings within the given time, 0 if there is none.
func (l Linear) Fits(seconds float64) float64 {
	if seconds <= l.Alpha || l.Beta <= 0 {
		return 0
	}
	return (seconds - l.Alpha) / l.Beta
}

// Costs is the cost of each operation, by Op.
type Costs [Ops]Linear

// Time returns the seconds that a task takes.
func (c *Costs) Time(t *Task) float64 { return c[t.Op].Time(t.Work) }

// Layer is the work of one generalised layer in the forward pass of one micro-batch on one rank, by Op. Operations that the
// layer does not have are zero: no Gather and Scatter without expert sharding, only Dense for a layer without experts.
// Layer[GradReduce].Size is the whole gradient of the dense part, in elements.
type Layer [Ops]Work

// Backward returns the layer's work in the backward pass: what multiplies matrices does so twice, for the gradient of the
// input and of the weights; what moves rows moves as many gradients; counts are known from the forward pass.
func (l Layer) Backward() Layer {
	for _, op := range []Op{Dense, Route, Expert, Shared} {
		l[op] = l[op].Times(2)
	}
	l[Counts] = Work{}
	return l
}
