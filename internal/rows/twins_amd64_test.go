//go:build amd64 && !purego

package rows

import "testing"

// TestWithoutAssembly runs the tests again as on a processor that has not got the instructions.
func TestWithoutAssembly(t *testing.T) {
	was := accelerated
	defer func() { accelerated = was }()
	accelerated = false
	t.Run("CopyAll", TestCopyAll)
	t.Run("Sum", TestSumAndItsBackwardHaveTheReferencesBits)
}
