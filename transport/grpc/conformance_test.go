package grpc

import (
	"testing"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestConformance(t *testing.T) {
	open := func(t *testing.T, n int) []transport.Transport {
		ends := make([]transport.Transport, n)
		for r, e := range openAll(t, n, nil) {
			ends[r] = e
		}
		return ends
	}
	transporttest.Run(t, open)
	t.Run("Watched", func(t *testing.T) { transporttest.RunWatched(t, open) })
}
