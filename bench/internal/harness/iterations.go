package harness

// A step moves about this number of bytes between all ranks together, within bounds that keep
// percentiles meaningful where messages are large and runs short where they are small.
const (
	stepBytes, minIterations, maxIterations                = 4 << 30, 20, 2000
	shortStepBytes, shortMinIterations, shortMaxIterations = 64 << 20, 5, 50
)

// IterationsFor returns how often an exchange that moves moved bytes is timed.
func IterationsFor(moved int64, short bool) int {
	if short {
		return int(min(max(shortStepBytes/moved, shortMinIterations), shortMaxIterations))
	}
	return int(min(max(stepBytes/moved, minIterations), maxIterations))
}
