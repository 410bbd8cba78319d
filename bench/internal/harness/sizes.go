package harness

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxBytes bounds the bytes to each peer: MPI counts a message's elements in an int.
const MaxBytes = 1 << 30

// units are the suffixes of a size, longer ones first where one ends like another.
var units = []struct {
	suffix string
	bytes  int
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9},
}

// ParseSizes parses a list such as "64,4Ki,1M".
// ParseSize parses one size, of 1 to MaxBytes bytes.
func ParseSizes(list string) ([]int, error) {
	var sizes []int
	for _, text := range strings.Split(list, ",") {
		size, err := ParseSize(text)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

func ParseSize(text string) (int, error) {
	digits, unit := text, 1
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("size %q: want a whole number with k, M, G (powers of 1000), Ki, Mi, Gi (of 1024) or nothing after it", text)
	}
	if n < 1 || n > uint64(MaxBytes/unit) {
		return 0, fmt.Errorf("size %q: want 1 to 1Gi bytes", text)
	}
	return int(n) * unit, nil
}

// SizeName writes bytes as parseSize reads them, in the binary unit that leaves no rest.
func SizeName(bytes int) string {
	for i := 2; i >= 0; i-- {
		if u := units[i]; bytes%u.bytes == 0 {
			return strconv.Itoa(bytes/u.bytes) + u.suffix
		}
	}
	return strconv.Itoa(bytes)
}
