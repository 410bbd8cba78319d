package switchyardtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// report ends the test if a rank has failed, or hangs, or has skipped the test.
func (j *job) report(t testing.TB) {
	t.Helper()
	j.mu.Lock()
	text := j.describe()
	j.mu.Unlock()
	if text == "" {
		return
	}
	if t.Skipped() && !t.Failed() {
		t.SkipNow()
	}
	t.Fatal(text)
}

// describe says what has failed, first things first, or nothing.
func (j *job) describe() string {
	var b strings.Builder
	for i, f := range j.failed {
		when := ""
		if i == 0 && len(j.ranks) > 1 {
			when = " first"
		}
		fmt.Fprintf(&b, "\n\trank %d failed%s: %s", f.rank, when, indent(f.why.Error()))
	}
	bad := len(j.failed)
	for _, o := range j.ranks {
		if !o.done {
			bad++
			fmt.Fprintf(&b, "\n\trank %d hangs: it has not returned though its context ended (%v) and its world was closed; it is at\n\t\t%s",
				o.rank, context.Cause(j.ctx), indent(stackOf(o.goroutine)))
		}
	}
	switch {
	case b.Len() == 0:
		return ""
	case len(j.ranks) == 1: // of this process
		return "switchyardtest: " + strings.TrimSpace(b.String())
	}
	return fmt.Sprintf("switchyardtest: %d of %d ranks failed%s", bad, len(j.ranks), b.String())
}

func indent(text string) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n\t\t")
}
