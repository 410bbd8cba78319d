package balance

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
)

// peakBytes is the most memory that this process has had.
func peakBytes() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("/proc/self/status tells no VmHWM")
	}
	n, err := strconv.ParseInt(string(found[1]), 10, 64)
	return n << 10, err
}
