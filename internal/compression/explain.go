package compression

import (
	"fmt"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// explain says in one line what was chosen, what it takes by prediction, and what it loses; a pass
// has the given number of rows. Formats may be given.
func (c *choice) explain(rows int, given bool) string {
	var parts []string
	switch {
	case c.clusters.rate > 0:
		parts = append(parts, c.explainClusters(given))
	case given:
		parts = append(parts, "each row, in the formats given")
	default:
		for _, class := range []int{between, within} {
			if c.links[class].share > 0 {
				parts = append(parts, c.explainLink(class))
			}
		}
	}
	if len(parts) == 0 {
		return "no row leaves its rank"
	}
	took := func(seconds float64) time.Duration {
		return time.Duration(seconds * float64(rows) * 1e9).Round(time.Microsecond)
	}
	return fmt.Sprintf("%s; %v for %d rows, in float32 %v; loses %.3f of %.3g allowed",
		strings.Join(parts, "; "), took(c.seconds), rows, took(c.plain), c.lost, c.budget)
}

func (c *choice) explainClusters(given bool) string {
	of, in := c.clusters, c.clusters.format.String()
	if given {
		in = "the formats given"
	}
	if of.gradients != nil {
		in += fmt.Sprintf(", gradients of all rows in %v", of.gradients)
	}
	return fmt.Sprintf("clusters, %.3g of the rows, in %s, %s", of.rate, in, c.share(of.bytes))
}

func (c *choice) explainLink(class int) string {
	w := &c.of[class]
	text := [classes]string{within: "within a node: ", between: "between nodes: "}[class] + legsText(w.legs)
	if w.legs == ([4]alltoall.Format{}) {
		return text
	}
	return text + ", " + c.share(w.bytes)
}

// share is bytes as a share of those of float32.
func (c *choice) share(bytes float64) string {
	return fmt.Sprintf("%.2f× the bytes", bytes/c.wide)
}

func legsText(legs [4]alltoall.Format) string {
	if legs == [4]alltoall.Format{legs[0], legs[0], legs[0], legs[0]} {
		return legs[0].String()
	}
	return fmt.Sprintf("dispatch %v, combine %v, back %v and %v", legs[0], legs[1], legs[2], legs[3])
}
