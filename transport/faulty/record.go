package faulty

import "sync"

// maxRecords bounds the list of faults; they are counted beyond it.
const maxRecords = 1 << 16

// Record is one fault that has been injected.
type Record struct {
	// Kind is its kind.
	Kind Kind
	// Rule is the number of the rule, from 0.
	Rule int
	// Op is the operation that it was applied to.
	Op Op
}

// records counts and lists the injected faults.
type records struct {
	mu    sync.Mutex
	rules []int // how often each has applied
	kinds map[Kind]int
	list  []Record
}

// choose returns the fault of the first rule that applies to the operation and records it. Both are
// one step, so that Times is exact.
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

// Faults returns the first 65536 faults that have been injected at this rank, in order. The list
// belongs to the caller.
func (t *Transport) Faults() []Record {
	t.records.mu.Lock()
	defer t.records.mu.Unlock()
	return append([]Record(nil), t.records.list...)
}
