//go:build unix

package launch

import (
	"os"
	"syscall"
)

// Forwarded lists the signals that a launcher should forward to its ranks: set [Config.Signals] to
// a channel of signal.Notify with them.
func Forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}

// isStop reports whether sig asks a program to stop.
func isStop(sig os.Signal) bool {
	return sig == syscall.SIGINT || sig == syscall.SIGTERM || sig == syscall.SIGHUP || sig == syscall.SIGQUIT
}

// signalGroup sends sig to the process group that p leads. It is no error if the group is gone
// already.
func signalGroup(p *os.Process, sig os.Signal) {
	if s, ok := sig.(syscall.Signal); ok {
		_ = syscall.Kill(-p.Pid, s)
	}
}

// killedBy returns the number of the signal that ended a process, or 0.
func killedBy(state *os.ProcessState) int {
	if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return int(s.Signal())
	}
	return 0
}
