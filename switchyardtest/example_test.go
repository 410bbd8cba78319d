package switchyardtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/switchyardtest"
)

// Four ranks add up their numbers. A program's own test is called TestSum.
func ExampleRun() {
	_ = testSum
}

func testSum(t *testing.T) {
	switchyardtest.Run(t, 4, func(ctx context.Context, w *switchyard.World) error {
		sum := []float32{float32(w.Rank())}
		if err := w.Comm().AllReduce(ctx, sum); err != nil {
			return err
		}
		if sum[0] != 0+1+2+3 {
			return fmt.Errorf("the sum is %v", sum[0])
		}
		return nil
	})
}
