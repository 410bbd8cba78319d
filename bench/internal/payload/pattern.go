// Package payload makes the bytes that messages carry, and checks those that arrive.
package payload

import "encoding/binary"

// The bytes that travel. Every sender has one long pattern; in iteration i it sends the part that
// starts at offset(i), so that each byte depends on sender, receiver, iteration and position, and
// stale, swapped or misplaced bytes are noticed, while no time goes into filling buffers.
// bench/internal/peers/sources/protocol.h does the same in C.
const (
	grain  = 64   // a cache line, so that every iteration's buffer is aligned alike
	places = 1021 // a prime number of offsets; with grain, 64 KiB of pattern beyond the message
	stride = 389  // far from small fractions of places: neighbouring iterations share no bytes
	probes = 8    // bytes checked of each block in every iteration
)

// Offset is where in the sender's pattern the bytes of an iteration start.
func Offset(iteration int) int { return grain * (iteration * stride % places) }

// Length is how much pattern a rank needs to send length bytes in every iteration, in whole words.
func Length(length int) int { return (length + grain*places + 7) / 8 * 8 }

// Word is the eight bytes of sender's pattern from byte 8·index on, lowest byte first: the
// finaliser of the splitmix64 generator over sender and index.
func Word(sender, index int) uint64 {
	z := uint64(sender+1)<<40 + uint64(index)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func patternByte(sender, position int) byte {
	return byte(Word(sender, position/8) >> (8 * (position % 8)))
}

// Fill writes sender's pattern from its start; the length of to is a multiple of 8.
func Fill(to []byte, sender int) {
	for i := 0; i < len(to); i += 8 {
		binary.LittleEndian.PutUint64(to[i:], Word(sender, i/8))
	}
}

// Probe checks some bytes of block, which sender's pattern from position on should be, and returns
// how many are wrong.
func Probe(block []byte, sender, position int) (wrong int) {
	for k := range probes {
		at := k * (len(block) - 1) / (probes - 1)
		if block[at] != patternByte(sender, position+at) {
			wrong++
		}
	}
	return wrong
}

// Check checks every byte of block, which sender's pattern from position on should be, and returns
// how many are wrong.
func Check(block []byte, sender, position int) (wrong int) {
	for i := 0; i < len(block); {
		at := position + i
		if at%8 == 0 && len(block)-i >= 8 && binary.LittleEndian.Uint64(block[i:]) == Word(sender, at/8) {
			i += 8
			continue
		}
		if block[i] != patternByte(sender, at) {
			wrong++
		}
		i++
	}
	return wrong
}
