package layout_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/layout"
)

// TestSeedsOfLayersStay pins what a job that is built again must draw again.
func TestSeedsOfLayersStay(t *testing.T) {
	require.Equal(t, uint64(9), layout.Seed(9, 0))
	require.Equal(t, []uint64{0x80863a972b196042, 0x95d201fdede68e38, 0xad53d5472392edec}, []uint64{layout.Seed(9, 1), layout.Seed(9, 2), layout.Seed(0, 1)})
}
