package faulty

import (
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config says what goes wrong. The zero value is nothing.
type Config struct {
	// Seed determines all that is random.
	Seed uint64
	// Rules are asked in order about each operation; the first that applies counts, and the others
	// are not asked.
	Rules []Rule
}

// Rule is one fault and whom it befalls.
type Rule struct {
	// Fault is what happens.
	Fault Fault
	// When tells whether it may happen to an operation; nil is to every one. It may be called by
	// several goroutines at once and must not call the transport.
	When func(Op) bool
	// Chance is how likely it happens then, by the seed and the operation alone. 0 means always.
	Chance float64
	// Times is how often it happens at most. 0 is without limit.
	Times int
}

// FailAt is the rule that rank crashes with its n-th operation, from 1. The same rules can be given
// to all ranks.
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

// applies reports whether rule i, which has happened so often, befalls the operation.
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
