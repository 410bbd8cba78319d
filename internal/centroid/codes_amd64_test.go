//go:build amd64 && !purego

package centroid

import "unsafe"

// codes shows memory of numbers as memory of codes.
func codes(v []float32) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}
