package transport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStatementsComeInGrowingIntervals, which have bounds.
func TestStatementsComeInGrowingIntervals(t *testing.T) {
	for _, c := range []struct{ waited, want time.Duration }{
		{0, time.Second / 2}, {time.Second, time.Second / 2}, {2 * time.Second, time.Second},
		{8 * time.Second, 4 * time.Second}, {time.Minute, 5 * time.Second},
	} {
		require.Equal(t, c.want, NextStatement(c.waited), "after %v", c.waited)
	}
}

// TestOverdueWithoutAProgram blames the rank that was waited for.
func TestOverdueWithoutAProgram(t *testing.T) {
	culprit, err := Overdue(nil, 3, time.Second)
	require.Equal(t, Rank(3), culprit)
	require.ErrorIs(t, err, ErrTimeout)
	require.ErrorContains(t, err, "after 1s")
}

// overdue is a program that blames rank 1.
type overdue struct{ Program }

func (overdue) Overdue(Rank) (Rank, string) { return 1, "rank 1 is saving" }

// TestOverdueWithAProgram blames the rank that the program blames, and says what it says.
func TestOverdueWithAProgram(t *testing.T) {
	culprit, err := Overdue(overdue{}, 3, time.Second)
	require.Equal(t, Rank(1), culprit)
	require.ErrorIs(t, err, ErrTimeout)
	require.ErrorContains(t, err, "waited for rank 3")
	require.ErrorContains(t, err, "rank 1 is saving")
}
