//go:build !purego

package crc32c

import (
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/cpu"
)

func TestEveryFold(t *testing.T) {
	for bits, needs := range map[int]cpu.Features{0: 0, 256: needs256, 512: needs512} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			if !cpu.Has(needs) {
				t.Skip("this processor does not have the instructions")
			}
			defer cpu.Limit(needs)()
			require.Equal(t, bits, width())
			p := bytesOf(5, 3*foldAbove)
			for n := foldAbove - 1; n < len(p)-70; n += 97 {
				from := n % 70
				require.Equal(t, crc32.Update(uint32(n), castagnoli, p[from:from+n]), Update(uint32(n), p[from:from+n]), "%d bytes from %d", n, from)
			}
		})
	}
}
