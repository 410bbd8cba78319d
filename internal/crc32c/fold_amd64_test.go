//go:build !purego

package crc32c

import (
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryFold(t *testing.T) {
	kept := width
	t.Cleanup(func() { width = kept })
	for bits, has := range map[int]bool{0: true, 256: has256, 512: has512} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			if !has {
				t.Skip("this processor has not the instructions")
			}
			width = bits
			p := bytesOf(5, 3*foldAbove)
			for n := foldAbove - 1; n < len(p)-70; n += 97 {
				from := n % 70
				require.Equal(t, crc32.Update(uint32(n), castagnoli, p[from:from+n]), Update(uint32(n), p[from:from+n]), "%d bytes from %d", n, from)
			}
		})
	}
}
