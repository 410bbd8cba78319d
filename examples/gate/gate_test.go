package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestThreshold is all the proof that a gate of one's own needs to fit the layer.
func TestThreshold(t *testing.T) {
	for _, at := range []float32{0.3, 0.5, 0.6} {
		var traits []routertest.Trait
		if at > 0.5 {
			traits = append(traits, routertest.TiesElsewhere) // a token of zeros goes nowhere
		}
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			routertest.Run(t, func() router.Router { return Threshold{At: at} }, traits...)
		})
	}
}

func TestFaults(t *testing.T) {
	_, err := Threshold{At: 1}.New(router.Shape{})
	require.ErrorContains(t, err, "threshold is 1")
	require.ErrorContains(t, err, "0 columns and 0 experts")
}

func TestTrain(t *testing.T) {
	require.NoError(t, train(t.Context(), 8))
}
