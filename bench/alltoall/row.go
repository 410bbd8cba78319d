package alltoall

import (
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// row is the outcome for one contestant and one size, and a line of the JSON file. The field names
// say gbps for what is GB/s, 10⁹ bytes a second.
type row struct {
	Who          string  `json:"who"`
	Version      string  `json:"version"`
	Transport    string  `json:"transport"`
	Ranks        int     `json:"ranks"`
	BytesPerPeer int     `json:"bytes_per_peer"`
	Algorithm    string  `json:"algorithm"`
	P50          float64 `json:"p50_us"`
	P99          float64 `json:"p99_us"`
	Algbw        float64 `json:"algbw_gbps"`
	Busbw        float64 `json:"busbw_gbps"`
	Wrong        int     `json:"wrong"`
}

// name is what tables call the contestant of r.
func (r row) name() string { return r.Who + "-" + r.Transport }

// ours reports whether r is about switchyard.
func (r row) ours() bool { return r.Who == harness.Name }

// wrongBytes sums the wrong bytes of all rows.
func wrongBytes(rows [][]row) (wrong int) {
	for _, group := range rows {
		for _, r := range group {
			wrong += r.Wrong
		}
	}
	return wrong
}
