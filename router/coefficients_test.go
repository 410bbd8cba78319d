package router

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCoefficientsAreBounded: float32 gradients must be able to hold what a loss makes of finite
// logits.
func TestCoefficientsAreBounded(t *testing.T) {
	for _, c := range []float64{math.NaN(), math.Inf(1), -1, 1e308, 2e12} {
		_, err := TopK{K: 1, Losses: []Loss{Balance(c)}}.New(Shape{Dim: 2, Experts: 2})
		require.ErrorContains(t, err, fmt.Sprintf(`loss "balance" has coefficient %v, want 0 to 1e+12`, c))
		aux := Modality{Groups: []ModalityGroup{{"a", 1}, {"b", 1}}, Aux: true, AuxCoefficient: c}
		_, err = aux.New(Shape{Dim: 2, Experts: 2})
		require.ErrorContains(t, err, fmt.Sprintf("AuxCoefficient is %v, want 0 to 1e+12", c))
	}
	_, err := TopK{K: 1, Losses: []Loss{Balance(1e12)}}.New(Shape{Dim: 2, Experts: 2})
	require.NoError(t, err)
}
