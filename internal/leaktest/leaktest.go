// Package leaktest checks at the end of a package's tests that they leave no goroutine and no file
// descriptor.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs the tests of a package and exits with 1 if they leave a goroutine or a descriptor
// behind. A package's TestMain is one call of it.
func Main(m *testing.M) {
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "leaktest: goroutines:", err)
			code = 1
		}
		if after := settle(before); after > before {
			fmt.Fprintf(os.Stderr, "leaktest: %d descriptors open before the tests, %d after\n", before, after)
			code = 1
		}
	}
	os.Exit(code)
}

// settle waits up to a second for descriptors to fall to want: the runtime opens its poller's two
// or three on first use and keeps them, so those are allowed.
func settle(want int) int {
	const poller = 3
	for end := time.Now().Add(time.Second); ; {
		n := descriptors() - poller
		if n <= want || time.Now().After(end) {
			return n
		}
		runtime.Gosched()
	}
}

func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
