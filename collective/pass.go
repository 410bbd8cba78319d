package collective

import "fmt"

// Pass returns a Comm for the calls of one pass, which may run at the same time as those of c and
// of other passes, on another goroutine and in another order than on other ranks: they meet by the
// number of the pass. All ranks begin the same passes; the calls within a pass, any number, are in
// the same order on every rank. Two passes whose numbers are 2²² apart must not run at the same
// time. Any goroutine may call Pass at any time.
//
// What it returns has the working memory of a pass that has ended, if there is any. It must not be
// used after End.
func (c *Comm) Pass(number uint64) *Comm {
	if c.whole != nil {
		c = c.whole
	}
	p := c.ended.Take()
	if p == nil {
		p = &Comm{t: c.t, begin: c.begin, ones: c.ones, whole: c}
	}
	p.pass, p.seq, p.topology = number, 0, c.topology
	return p
}

// End ends a pass: its working memory is for others. It does nothing if c is no pass.
func (c *Comm) End() {
	if c.whole != nil {
		c.whole.ended.Give(c)
	}
}

// named is op in errors.
func (c *Comm) named(op string) string {
	if c.whole == nil {
		return op
	}
	return fmt.Sprintf("%s of pass %d", op, c.pass)
}
