package faulty

import "sync"

// maxRecords bounds the list of faults; they are counted beyond it.
const maxRecords = 1 << 16

// Record is one fault that has been injected.
type Record struct {
	// Kind is what went wrong.
	Kind Kind
	// Rule is the number of the rule, from 0.
	Rule int
	// Op is whom it befell.
	Op Op
}

// records counts and lists what has happened.
type records struct {
	mu    sync.Mutex
	rules []int // how often each has applied
	kinds map[Kind]int
	list  []Record
}

// choose finds the rule that befalls the operation and records it. The choice and the count are one
// step, so that Times is exact.
func (r *records) choose(o *Op, c *Config) Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range c.Rules {
		if !c.Rules[i].applies(o, c.Seed, i, r.rules[i]) {
			continue
		}
		f := c.Rules[i].Fault
		r.rules[i]++
		r.kinds[f.kind]++
		if len(r.list) < maxRecords {
			r.list = append(r.list, Record{f.kind, i, *o})
		}
		return f
	}
	return Fault{}
}

// Count is how many faults of a kind have been injected at this rank.
func (t *Transport) Count(k Kind) int {
	t.records.mu.Lock()
	defer t.records.mu.Unlock()
	return t.records.kinds[k]
}

// Faults lists the faults that have been injected at this rank, in the order in which they were, up
// to 65536 of them. The list is the caller's.
func (t *Transport) Faults() []Record {
	t.records.mu.Lock()
	defer t.records.mu.Unlock()
	return append([]Record(nil), t.records.list...)
}
