package alltoall

import (
	"fmt"
	"io"
	"runtime"
)

// writeBenchstat writes a line a round in the form of go test -bench, so that benchstat can compare
// runs. Time is p50; MB/s is algbw.
func (c *comparison) writeBenchstat(w io.Writer) {
	fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: github.com/switchyard-moe/switchyard/bench\n", runtime.GOOS, runtime.GOARCH)
	for i, step := range c.steps {
		for _, who := range c.contestants {
			for _, s := range c.samples[who][i] {
				algbw, _ := bandwidths(step.bytes, c.ranks, s.p50)
				fmt.Fprintf(w, "BenchmarkAlltoall/who=%s/transport=%s/ranks=%d/bytes=%d-%d\t%d\t%d ns/op\t%.2f MB/s\t%d p99-ns\n",
					who.who, who.transport, c.ranks, step.bytes, runtime.GOMAXPROCS(0), step.iterations,
					s.p50.Nanoseconds(), algbw*1e3, s.p99.Nanoseconds())
			}
		}
	}
}
