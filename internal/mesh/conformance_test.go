package mesh

import (
	"testing"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestConformance(t *testing.T) {
	for name, link := range linkers {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
				ends := make([]transport.Transport, n)
				for r, e := range openOver(t, link, n, patient) {
					ends[r] = e
				}
				return ends
			})
		})
	}
}

// patient is for tests that are not about silence: on a machine that stops this process now and then, nobody dies of it.
func patient(c *Config) { c.DeadAfter = 30 * time.Second }
