package faulty

import (
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config holds the faults to inject. The zero value is none.
type Config struct {
	// Seed determines everything random.
	Seed uint64
	// Rules are tried in order for each operation; only the first that applies has an effect.
	Rules []Rule
}

// Rule is one fault and the operations that it applies to.
type Rule struct {
	// Fault is the fault.
	Fault Fault
	// When reports whether the rule may apply to an operation; nil means to every one. It may be
	// called by several goroutines at once and must not call the transport.
	When func(Op) bool
	// Chance is the probability that it applies then, by the seed and the operation alone. 0 means
	// always.
	Chance float64
	// Times is how often it applies at most. 0 is no limit.
	Times int
}

// FailAt is the rule by which rank crashes in its n-th operation, from 1. All ranks may have the
// same rules.
func FailAt(rank transport.Rank, n uint64, err error) Rule {
	return Rule{Fault: Fail(err), When: func(o Op) bool { return o.Rank == rank && o.N == n }}
}

// Validate reports every fault of c itself.
func (c Config) Validate() error {
	var faults []error
	for i, r := range c.Rules {
		if err := r.Fault.validate(); err != nil {
			faults = append(faults, errtext.Errorf("faulty: Config.Rules[%d]: %w", i, err))
		}
		if !(r.Chance >= 0 && r.Chance <= 1) {
			faults = append(faults, fmt.Errorf("faulty: Config.Rules[%d].Chance is %v, want 0 to 1", i, r.Chance))
		}
		if r.Times < 0 {
			faults = append(faults, fmt.Errorf("faulty: Config.Rules[%d].Times is %d, want at least 0", i, r.Times))
		}
	}
	return errors.Join(faults...)
}

// applies reports whether rule i, which has applied happened times, applies to the operation.
func (r *Rule) applies(o *Op, seed uint64, i, happened int) bool {
	if !r.Fault.suits(o) || r.Times > 0 && happened >= r.Times || r.When != nil && !r.When(*o) {
		return false
	}
	const whole = 1 << 53
	return r.Chance == 0 || float64(o.draw(seed, uint64(i))%whole) < r.Chance*whole
}

// lag is how long a delayed operation is delayed.
func (f Fault) lag(o *Op, seed uint64) time.Duration {
	const salt = 1 << 32
	return f.least + time.Duration(o.draw(seed, salt)%uint64(f.most-f.least+1))
}
