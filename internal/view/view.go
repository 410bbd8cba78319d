// Package view gives the memory of a slice of numbers as bytes, as it is sent, without a copy.
//
// What travels is little-endian, and a view is the machine's own memory; so the library builds for
// little-endian machines only (see endian.go).
package view

import "unsafe"

// Number is what has a view.
type Number interface {
	~float32 | ~float64 | ~int32 | ~uint32 | ~int64 | ~uint64 | ~uint16
}

// Bytes returns the memory of s. It aliases s: a change of one is a change of the other.
func Bytes[T Number](s []T) []byte {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(s[0])))
}
