package switchyard_test

import (
	"fmt"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// 64 experts on 16 ranks, each with 8192 tokens of 1024 columns, trained by Adam.
func ExampleConfig_Estimate() {
	e, err := switchyard.Config{
		Dim: 1024, Experts: 64, Group: 1024, Router: router.TopK{K: 2, CapacityFactor: 1.25},
		Expert: expert.SwiGLU{Hidden: 2048},
	}.Estimate(16, 8192)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(e)
	fmt.Printf("in all %.1f GB\n", float64(e.Training(2))/1e9)
	// Output:
	// parameters 100.9 MB, gradients 805.8 MB, a moment of the optimizer 100.9 MB
	// balanced pass: 16384 rows sent, 16384 received; MB: 771.9 kept, 503.3 in Backward, 251.7 leave
	// worst pass: 16384 rows sent, 20480 received; MB: 937.6 kept, 585.1 in Backward, 291.5 leave
	// in all 2.4 GB
}
