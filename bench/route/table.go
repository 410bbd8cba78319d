package route

import (
	"fmt"
	"io"
	"runtime"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// row is the outcome for one contestant in one case, and a line of the JSON file.
type row struct {
	Who             string  `json:"who"`
	Version         string  `json:"version"`
	Tokens          int     `json:"tokens"`
	Dim             int     `json:"dim"`
	Experts         int     `json:"experts"`
	K               int     `json:"k"`
	P50             float64 `json:"p50_us"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	// Allocs is the mean number of allocations of a call, whole ones alone, as the runtime makes
	// some of its own at times;
	// -1 where nobody counts them.
	Allocs int `json:"allocs_per_call"`
	// Ratio is the time over ours.
	Ratio float64 `json:"times_ours"`
}

// writeTable writes rows with the ratio of each to ours.
func writeTable(w io.Writer, o options, skipped string, rows []row) {
	fmt.Fprintf(w, "# switchyard bench route: %d tokens, logits given, one thread, %s/%s%s; %d rounds of %d calls\n",
		o.tokens, runtime.GOOS, runtime.GOARCH, harness.Load(), o.rounds, o.iterations)
	if skipped != "" {
		fmt.Fprintf(w, "# %s\n", skipped)
	}
	seen := map[string]bool{}
	for _, r := range rows {
		if !seen[r.Who] {
			fmt.Fprintf(w, "# %s: version %s\n", r.Who, r.Version)
		}
		seen[r.Who] = true
	}
	fmt.Fprintf(w, "#\n#%7s %3s  %-10s %10s %12s %9s %12s\n", "experts", "k", "who", "p50(us)", "Mtokens/s", "allocs/op", "time/ours")
	for _, r := range rows {
		allocs := fmt.Sprint(r.Allocs)
		if r.Allocs < 0 {
			allocs = "-"
		}
		fmt.Fprintf(w, " %7d %3d  %-10s %10.1f %12.2f %9s %12.2f\n", r.Experts, r.K, r.Who, r.P50, r.TokensPerSecond/1e6, allocs, r.Ratio)
	}
}
