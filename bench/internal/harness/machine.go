package harness

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// Name is what the outcome calls switchyard.
const Name = "switchyard"

// Version is that of this module, with the commit where the build knows it, and of Go.
func Version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return v + " " + runtime.Version()
}

// Load says how busy the machine is, where the system tells: figures from a busy one are not to be
// trusted, least of all those of peers that spin while they wait.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	lately, _, ok := strings.Cut(string(text), " ")
	if err != nil || !ok {
		return ""
	}
	return ", load average " + lately + " before the start"
}
