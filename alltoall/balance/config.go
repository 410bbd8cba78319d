package balance

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// When says when a layer shares experts out.
type When int

const (
	// Never has every expert computed at home, by the rank that hosts it.
	Never When = iota
	// Auto shares experts out in the passes in which that is predicted to take less time, by what
	// the ranks have found that rows take, and what bytes take on the links, which NewLayer measures
	// unless the layer's Config.Links has them. The first passes share nothing out, since nothing is
	// known yet.
	Auto
	// Always has the planner decide in every pass. Before ranks know how long rows take, all rows
	// count alike.
	Always

	whens
)

// Config says how a layer shares out experts that have more rows than their home computes in time:
// runs of their rows are computed by other ranks, in slots, to which the parameters travel with the
// rows, and from which gradients come home. Its zero value shares nothing out, and sends no
// message more. No bit of any result depends on it.
//
// (MoonEP, UltraEP and LLEP, 2026; FasterMoE, He et al. 2022.)
type Config struct {
	// When says when experts are shared out.
	When When
	// Planner makes the layer's planner, and one that says what would be shared out without limits;
	// nil is for a [Makespan]. All ranks have those of the same settings.
	Planner func() Planner
	// Margin is, with Auto, the percentage of the predicted time without sharing that the predicted
	// time with it may be at most; 0 is that of [Gated].
	Margin int
	// Slots is the most runs of other ranks' experts that a rank computes in a pass; 0 means 2.
	Slots int
	// MaxBytes, if it is not 0, bounds the memory of these slots on a rank for each pass in flight:
	// there are no more of them than have room. A slot has the parameters of an expert and, in
	// training, about as much twice for its gradient. An expert that is shared out takes as much at
	// home, and the parameters stay for the next pass. The rows that a rank computes are bounded by
	// Config.MaxRows of the layer.
	MaxBytes int64
}

// perSlot is how many vectors as long as the parameters of an expert a slot is taken to have.
const perSlot = 3

// Validate returns all that is wrong with c.
func (c Config) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("balance: "+format, args...))
		}
	}
	fault(c.When < 0 || c.When >= whens, "When is %d, want 0 to %d", c.When, whens-1)
	fault(c.Margin < 0 || c.Margin > 100, "Margin is %d percent, want 0 to 100", c.Margin)
	fault(c.Slots < 0, "Slots is %d, must not be negative", c.Slots)
	fault(c.MaxBytes < 0, "MaxBytes is %d, must not be negative", c.MaxBytes)
	fault(c.Planner != nil && c.Planner() == nil, "Planner makes none")
	return errors.Join(faults...)
}

// String is the settings, which all ranks share.
func (c Config) String() string {
	if c.When == Never {
		return "never"
	}
	return fmt.Sprintf("{When:%d Planner:%v Slots:%d MaxBytes:%d}", c.When, c.New(), c.Slots, c.MaxBytes)
}

// New makes the planner.
func (c Config) New() Planner {
	var p Planner = &Makespan{}
	if c.Planner != nil {
		p = c.Planner()
	}
	if c.When == Auto {
		p = &Gated{Planner: p, Margin: c.Margin}
	}
	return p
}

// Limits are those of a rank that may compute a number of rows, where an expert has parameters of a
// number of bytes.
func (c Config) Limits(rows int, bytes int64) alltoall.Limits {
	slots := cmp.Or(c.Slots, 2)
	if c.MaxBytes > 0 && bytes > 0 {
		slots = int(min(int64(slots), c.MaxBytes/(perSlot*bytes)))
	}
	return alltoall.Limits{Slots: slots, Rows: rows}
}

// Stats describes what was shared out in a pass, of all ranks. Times are those that are predicted.
type Stats struct {
	// Experts is how many experts were shared out, to how many other ranks all together, Copies, and
	// how many rows these compute, Rows.
	Experts, Copies, Rows int
	// Stayed is how many rows more they would compute if a rank had any number of slots, bytes and
	// rows. It is 0 unless Slots, MaxBytes or MaxRows is reached.
	Stayed int
	// RowsBefore and TimeBefore are the rows and the time of the rank that has most, as multiples of
	// the mean, without sharing; RowsAfter and TimeAfter with it. They are 0 if the layer does not
	// balance.
	RowsBefore, RowsAfter, TimeBefore, TimeAfter float64
	// Bytes is the parameters and gradients that travel for it, before what ranks have already.
	Bytes int64
}
