package main

import (
	"os"
	"runtime"
)

// canMakeNetworks says whether network namespaces can be made here.
func canMakeNetworks() bool { return runtime.GOOS == "linux" && os.Geteuid() == 0 }
