package lsh

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// row is a line of the JSON file: a variant with one seed, or in the mean over seeds on links of
// one rate. -h explains the names.
type row struct {
	Task        string  `json:"task"`
	Variant     string  `json:"variant"`
	Seed        int     `json:"seed"`
	Rows        int     `json:"rows"`
	Rate        float64 `json:"rate"`
	Loss        float64 `json:"val_loss"`
	LossTrained float64 `json:"val_loss_trained"`
	LossStart   float64 `json:"val_loss_start"`
	Kept        float64 `json:"contribution_kept"`
	KeptError   float64 `json:"contribution_kept_se"`
	KeptMatched float64 `json:"contribution_kept_matched"`
	Gain        float64 `json:"gain"`
	GainError   float64 `json:"gain_se"`
	GainMatched float64 `json:"gain_matched"`
	BytesRatio  float64 `json:"bytes_ratio"`
	Seeds       int     `json:"seeds"`

	Link       int     `json:"link_mbps"`
	Share      float64 `json:"a2a_share"`
	Step       float64 `json:"step_ms"`
	Speedup    float64 `json:"speedup"`
	TimeToLoss float64 `json:"time_to_loss_speedup"`
	Wire       uint64  `json:"wire_bytes"`
}

// group is what is learned, with groups of how many rows: losses of one are compared.
type group struct {
	task string
	rows int
}

func (o *options) group() group { return group{o.task, o.groupRows} }

// timing is how a variant fares on links of one rate: time of a step, part of it in exchanges, and
// bytes of all ranks a step.
type timing struct {
	step, share float64
	wire        uint64
}

// measured is all that is known: outcomes by group, variant and seed, and timings by rate and
// variant.
type measured struct {
	*options
	groups   []group
	outcomes map[group]map[string]map[int]outcome
	rates    []int
	timings  map[int]map[string]timing
}

// keep notes an outcome.
func (m *measured) keep(g group, name string, seed int, out outcome) {
	if m.outcomes == nil {
		m.outcomes = map[group]map[string]map[int]outcome{}
	}
	if m.outcomes[g] == nil {
		m.groups, m.outcomes[g] = append(m.groups, g), map[string]map[int]outcome{}
	}
	if m.outcomes[g][name] == nil {
		m.outcomes[g][name] = map[int]outcome{}
	}
	m.outcomes[g][name][seed] = out
}

// time notes a timing.
func (m *measured) time(rate int, name string, t timing) {
	if m.timings == nil {
		m.timings = map[int]map[string]timing{}
	}
	if m.timings[rate] == nil {
		m.rates, m.timings[rate] = append(m.rates, rate), map[string]timing{}
	}
	m.timings[rate][name] = t
}

// rows are those of variants with each seed, and then those in the mean on links of each rate.
func (m *measured) rows() (rows []row) {
	groups, rates := m.groups, m.rates
	if len(groups) == 0 {
		groups = []group{m.group()}
	}
	if len(rates) == 0 {
		rates = []int{0}
	}
	for _, g := range groups {
		for _, v := range m.variants {
			rows = append(rows, m.seedRows(g, v)...)
		}
	}
	for _, g := range groups {
		for _, rate := range rates {
			for _, v := range m.variants {
				rows = append(rows, m.mean(g, v, rate))
			}
		}
	}
	return rows
}

// seedRows are a variant's rows with each seed that it has trained with.
func (m *measured) seedRows(g group, v variant) (rows []row) {
	all := m.outcomes[g]
	for seed, out := range all[lossesOf(v.name)] {
		if !trainsForQuality(v) {
			break
		}
		r := row{Task: g.task, Variant: v.name, Seed: seed, Rows: g.rows, Rate: v.rate, Seeds: 1, BytesRatio: out.bytes,
			Loss: out.loss, LossTrained: out.trained, LossStart: out.start}
		plain, none := all[plainName][seed], all[noExpertsName][seed]
		r.Kept, r.KeptMatched = part(none.loss, plain.loss, out.loss), part(none.loss, plain.loss, out.trained)
		r.Gain, r.GainMatched = part(out.start, plain.loss, out.loss), part(out.start, plain.loss, out.trained)
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int { return a.Seed - b.Seed })
	return rows
}

// width is that of the model whose losses are measured.
func (o *options) width() int {
	if o.groupRows > 0 {
		return o.qualityDim
	}
	return o.dim
}

// part is (from − loss) ÷ (from − to), and 0 where one of them is not known or to is no better.
func part(from, to, loss float64) float64 {
	if from == 0 || to == 0 || loss == 0 || from <= to {
		return 0
	}
	return (from - loss) / (from - to)
}

// mean is a variant's row in the mean over seeds, on links of a rate.
func (m *measured) mean(g group, v variant, rate int) row {
	r := row{Task: g.task, Variant: v.name, Rows: g.rows, Rate: v.rate, BytesRatio: v.bytesRatio(m.width()), Link: rate}
	of := v
	of.name = lossesOf(v.name)
	if seeds := m.seedRows(g, of); len(seeds) > 0 && v.name != torchModelName {
		r.Seeds, r.BytesRatio = len(seeds), seeds[0].BytesRatio
		r.Loss, _ = average(seeds, func(s row) float64 { return s.Loss })
		r.LossTrained, _ = average(seeds, func(s row) float64 { return s.LossTrained })
		r.LossStart, _ = average(seeds, func(s row) float64 { return s.LossStart })
		r.Kept, r.KeptError = average(seeds, func(s row) float64 { return s.Kept })
		r.KeptMatched, _ = average(seeds, func(s row) float64 { return s.KeptMatched })
		r.Gain, r.GainError = average(seeds, func(s row) float64 { return s.Gain })
		r.GainMatched, _ = average(seeds, func(s row) float64 { return s.GainMatched })
	}
	t := m.timing(v, rate)
	r.Share, r.Step, r.Wire = m.timings[rate][plainName].share, t.step, t.wire
	if t.step > 0 {
		r.Speedup = m.timings[rate][plainName].step / t.step
	}
	if f := m.stepsToLoss(g, v); f > 0 {
		r.TimeToLoss = r.Speedup / f
	}
	return r
}

// average is the mean of a figure, and its standard error, 0 of one seed.
func average(rows []row, of func(row) float64) (mean, se float64) {
	n := float64(len(rows))
	for _, r := range rows {
		mean += of(r) / n
	}
	for _, r := range rows {
		se += (of(r) - mean) * (of(r) - mean)
	}
	return mean, math.Sqrt(se / n / max(n-1, 1))
}

// timing is that of a variant, or of the one of which it is more steps or only some compressed.
func (m *measured) timing(v variant, rate int) timing {
	t, ok := m.timings[rate][v.name]
	if ok {
		return t
	}
	base, _, _ := strings.Cut(v.name, "×")
	base, _, _ = strings.Cut(base, "-until")
	t = m.timings[rate][base]
	if v.until > 0 && t.step > 0 {
		t.step = v.until*t.step + (1-v.until)*m.timings[rate][plainName].step
	}
	return t
}

// stepsToLoss is how many times the steps of an uncompressed run a variant needs to reach the loss
// of that, 0 where it does not: its own times, if its name has some, and else by a line between the
// losses of those that are measured.
func (m *measured) stepsToLoss(g group, v variant) float64 {
	goal := m.meanLoss(g, plainName)
	if goal == 0 {
		return 0
	}
	if v.times != 1 {
		if loss := m.meanLoss(g, lossesOf(v.name)); loss == 0 || loss > goal {
			return 0
		}
		return v.times
	}
	type point struct{ times, loss float64 }
	var points []point
	for _, w := range m.variants {
		base, _, _ := strings.Cut(lossesOf(w.name), "×")
		if loss := m.meanLoss(g, lossesOf(w.name)); base == lossesOf(v.name) && loss > 0 {
			points = append(points, point{w.times, loss})
		}
	}
	slices.SortFunc(points, func(a, b point) int { return int(math.Copysign(1, a.times-b.times)) })
	for i, p := range points {
		switch {
		case p.loss > goal:
			continue
		case i == 0:
			return p.times
		}
		q := points[i-1]
		return q.times + (p.times-q.times)*(q.loss-goal)/(q.loss-p.loss)
	}
	return 0
}

// meanLoss is a variant's loss in the mean over seeds, 0 where none is known.
func (m *measured) meanLoss(g group, name string) (mean float64) {
	all := m.outcomes[g][name]
	for _, seed := range slices.Sorted(maps.Keys(all)) {
		mean += all[seed].loss / float64(len(all))
	}
	return mean
}
