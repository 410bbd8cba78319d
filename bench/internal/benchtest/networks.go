// Package benchtest holds what the tests of several commands use.
package benchtest

import (
	"os"
	"runtime"
)

// CanMakeNetworks reports whether this process can make network namespaces: as root on Linux.
func CanMakeNetworks() bool { return runtime.GOOS == "linux" && os.Geteuid() == 0 }
