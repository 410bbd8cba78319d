package mesh

import (
	"testing"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestConformance(t *testing.T) {
	for name, link := range linkers {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T, n int) []transport.Transport {
				ends := make([]transport.Transport, n)
				for r, e := range openOver(t, link, n, nil) {
					ends[r] = e
				}
				return ends
			})
		})
	}
}
