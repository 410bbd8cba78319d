package goldens

import (
	"fmt"
	"math"
)

// layerTolerance is the largest relative error that counts as equal.
const layerTolerance = 1e-5

// compare holds every output of the file against what was computed.
func (c layerCase) compare(got map[string][]float32, worst *float64) error {
	for name, want := range c.Outputs {
		have, ok := got[name]
		if !ok || len(have) != len(want.Data) {
			return fmt.Errorf("output %q: %d numbers, want %d", name, len(have), len(want.Data))
		}
		e := relativeError(want.Data, have)
		*worst = max(*worst, e)
		if !(e <= layerTolerance) {
			return fmt.Errorf("output %q is off by %.2g, tolerance %.0g", name, e, layerTolerance)
		}
	}
	return nil
}

// relativeError is the largest |got-want| / max(|want|, mean |want|): relative to each number, but
// not to one that is next to nothing beside its neighbours, where sums of them cancelled.
func relativeError(want, got []float32) float64 {
	mean := 0.0
	for _, w := range want {
		mean += math.Abs(float64(w)) / float64(len(want))
	}
	worst := 0.0
	for i, w := range want {
		diff := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(diff) {
			return math.Inf(1)
		}
		if diff > 0 {
			worst = max(worst, diff/max(math.Abs(float64(w)), mean))
		}
	}
	return worst
}
