package switchyardtest_test

import "testing"

// TestExamples runs what the examples show.
func TestExamples(t *testing.T) {
	t.Run("sum", testSum)
}
