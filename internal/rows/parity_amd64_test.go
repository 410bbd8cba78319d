//go:build amd64 && !purego

package rows

import (
	"testing"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

// TestWithoutAssembly runs the tests again as on a processor that has not got the instructions.
func TestWithoutAssembly(t *testing.T) {
	defer cpu.Limit(0)()
	t.Run("CopyAll", TestCopyAll)
	t.Run("Sum", TestSumAndItsBackwardHaveTheReferencesBits)
}
