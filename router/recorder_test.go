package router

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestARecorderThatNobodyMade is an error of New and of Write.
func TestARecorderThatNobodyMade(t *testing.T) {
	_, err := Record{Router: TopK{K: 1}, To: &Recorder{}}.New(Shape{Dim: 2, Experts: 2})
	require.ErrorIs(t, err, errNoRecorder)
	require.ErrorIs(t, new(Recorder).Write(&RecordedRoute{}), errNoRecorder)
}
