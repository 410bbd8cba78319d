package admission

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// outcome is what the command shows.
type outcome struct {
	options
	Security string  `json:"security"`
	Ranks    int     `json:"ranks"`
	Bytes    int     `json:"bytes"`
	Clients  int     `json:"clients"`
	Rate     int     `json:"rate"`
	Dropped  int     `json:"dropped"`
	Refused  int     `json:"refused"`
	MaxHeld  float64 `json:"max_held_s"`
	Join     float64 `json:"join_s"` // of the rank that was held back
	MeetRSS  int64   `json:"meet_rss"`
	Without  float64 `json:"without"`
	With     float64 `json:"with"`
	Ratio    float64 `json:"ratio"`
	RunRSS   int64   `json:"run_rss"`
}

// add takes up what a rank has seen.
func (o *outcome) add(r int, seen *rankReport) {
	o.Security, o.Ranks, o.Bytes, o.Clients, o.Rate = o.security, o.ranks, o.bytes, o.count, o.rate
	if r == o.ranks-1 {
		o.Join = seen.Join
	} else {
		o.MeetRSS = max(o.MeetRSS, seen.MeetPeak-seen.MeetBase)
	}
	var speeds [2][]float64
	var peaks [2]int64
	for i, t := range seen.Turns {
		speeds[i%2] = append(speeds[i%2], float64(t.Exchanges)/t.Seconds)
		peaks[i%2] = max(peaks[i%2], t.PeakRSS)
	}
	o.RunRSS = max(o.RunRSS, peaks[1]-peaks[0])
	if r == 0 {
		o.Without, o.With = middle(speeds[0]), middle(speeds[1])
		o.Ratio = o.With / o.Without
	}
}

// middle is the median of values.
func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func (o *outcome) write(w io.Writer) {
	fmt.Fprintf(w, "# %d ranks over tcp, security %s, %s to each peer; %d clients a phase, %d a second\n",
		o.ranks, o.security, harness.SizeName(o.bytes), o.count, o.rate)
	fmt.Fprintf(w, "%-44s %10d\n", "clients that were dropped", o.Dropped)
	fmt.Fprintf(w, "%-44s %10d\n", "clients that found no listener", o.Refused)
	fmt.Fprintf(w, "%-44s %9.2fs\n", "longest that one was held", o.MaxHeld)
	fmt.Fprintf(w, "%-44s %9.2fs\n", "time the last rank took to join among them", o.Join)
	fmt.Fprintf(w, "%-44s %7.1f MiB\n", "memory of a rank meanwhile, with connections", mebibytes(o.MeetRSS))
	fmt.Fprintf(w, "%-44s %10.1f\n", "exchanges a second without clients", o.Without)
	fmt.Fprintf(w, "%-44s %10.1f\n", "exchanges a second with clients", o.With)
	fmt.Fprintf(w, "%-44s %10.3f\n", "ratio", o.Ratio)
	fmt.Fprintf(w, "%-44s %7.1f MiB\n", "memory of a rank beyond the turns without", mebibytes(o.RunRSS))
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// fault says what must not be, whatever the machine.
func (o *outcome) fault() error {
	limit := secure.HandshakeTimeout + time.Second
	if o.MaxHeld > limit.Seconds() {
		return fmt.Errorf("a client was held for %.2fs, limit %v", o.MaxHeld, limit)
	}
	if o.Dropped == 0 {
		return fmt.Errorf("no client ever reached the job")
	}
	return nil
}
