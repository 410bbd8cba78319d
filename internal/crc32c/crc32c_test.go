package crc32c

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// bytesOf returns n bytes drawn with seed, in a slice of exactly that capacity.
func bytesOf(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rng.Read(p)
	return p
}

func TestSameAsTheStandardLibrary(t *testing.T) {
	p := bytesOf(1, 20000)
	for n := 0; n < 12000; n += 1 + n/100 {
		from := n % 70 // every alignment within a cache line
		require.Equal(t, crc32.Checksum(p[from:from+n], castagnoli), Update(0, p[from:from+n]), "%d bytes from %d", n, from)
	}
	require.Equal(t, crc32.Checksum(p, castagnoli), Update(0, p))
}

func TestInPieces(t *testing.T) {
	p := bytesOf(2, 9000)
	want := crc32.Checksum(p, castagnoli)
	for cut := 0; cut <= len(p); cut += 61 {
		require.Equal(t, want, Update(Update(0, p[:cut]), p[cut:]), "cut at %d", cut)
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add(uint32(0), []byte("123456789"))
	f.Add(uint32(7), bytesOf(3, 5000))
	f.Fuzz(func(t *testing.T, crc uint32, p []byte) {
		require.Equal(t, crc32.Update(crc, castagnoli, p), Update(crc, p))
	})
}

func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{64, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 64 << 20} {
		p := bytesOf(4, n)
		b.Run(fmt.Sprintf("bytes=%d/stdlib", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				crc32.Update(0, castagnoli, p)
			}
		})
		b.Run(fmt.Sprintf("bytes=%d/ours", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Update(0, p)
			}
		})
	}
}
