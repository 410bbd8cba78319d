package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// lineInterval is the time between two lines of progress where there is no bar.
const lineInterval = 3 * time.Second

// barInterval is the time between two drawings of the bar: often enough to look alive.
const barInterval = 100 * time.Millisecond

// progress shows how training goes: a bar that is drawn over and over, or a line now and then.
type progress struct {
	screen screen
	steps  int
	first  int // the step before the first that is shown
	last   time.Time
	start  time.Time
	drawn  bool
}

func newProgress(s screen, steps int) *progress {
	return &progress{screen: s, steps: steps, start: time.Now()}
}

// show tells of a step that has just ended.
func (p *progress) show(step int, r report, rate float64) {
	interval := lineInterval
	if p.screen.bar {
		interval = barInterval
	}
	now := time.Now()
	if p.screen.silent || step > p.first+1 && step < p.steps && now.Sub(p.last) < interval {
		return
	}
	p.last = now
	if p.screen.bar {
		p.drawn = true
		p.screen.draw(p.text(step, r, rate, now))
		return
	}
	fmt.Fprintf(p.screen.out, "step %*d/%d  loss %.4f  %6.0f tokens/s  load max/mean %.2f  %s on the wire  %d dropped\n",
		digits(p.steps), step, p.steps, r.loss, rate, imbalance(r.load), byteCount(r.wire), r.dropped)
}

// text is the bar and what stands beside it.
func (p *progress) text(step int, r report, rate float64, now time.Time) string {
	const width = 24
	done := step * width / p.steps
	left := time.Duration(float64(now.Sub(p.start)) / float64(step-p.first) * float64(p.steps-step)).Round(time.Second)
	return fmt.Sprintf("%s%s %d/%d  loss %.4f  %.0f tokens/s  load %s %.2f  %s  %s left",
		strings.Repeat("█", done), strings.Repeat("░", width-done), step, p.steps,
		r.loss, rate, sparkline(r.load), imbalance(r.load), byteCount(r.wire), left)
}

// end leaves the last bar where it stands.
func (p *progress) end() {
	if p.drawn {
		p.screen.keep()
		p.drawn = false
	}
}

func digits(n int) int { return len(fmt.Sprint(n)) }

var quiet = screen{out: io.Discard, silent: true}
