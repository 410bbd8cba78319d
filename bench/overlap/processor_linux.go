package overlap

import (
	"syscall"
	"time"
)

// processorTime is what this process has had of processors since it began, in the system's name or
// its own.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
