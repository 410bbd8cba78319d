package schedule

// Work is how much a task has to do: Starts, the number of times that something is started, each of
// which costs α, and Size (elements, bytes or multiply-adds), each unit of which costs β. Graphs of
// whole models leave out tasks without any work.
type Work struct {
	Starts, Size float64
}

// Times returns f times the work.
func (w Work) Times(f float64) Work { return Work{w.Starts * f, w.Size * f} }

// Linear is the cost of an operation: Alpha for each start and Beta for each unit of size, in
// seconds.
type Linear struct {
	Alpha float64 `json:"alpha"`
	Beta  float64 `json:"beta"`
}

// Time returns the seconds that w takes.
func (l Linear) Time(w Work) float64 { return w.Starts*l.Alpha + w.Size*l.Beta }

// Costs is the cost of each operation, by Op.
type Costs [Ops]Linear

// Time returns the seconds that a task takes.
func (c *Costs) Time(t *Task) float64 { return c[t.Op].Time(t.Work) }
