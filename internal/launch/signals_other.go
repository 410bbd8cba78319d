//go:build !unix

package launch

import (
	"os"
	"syscall"
)

// Forwarded lists the signals that a launcher should pass on to its ranks.
func Forwarded() []os.Signal { return []os.Signal{os.Interrupt} }

func isStop(sig os.Signal) bool { return sig == os.Interrupt }

func groupAttributes() *syscall.SysProcAttr { return nil }

// signalGroup kills p for any sig: these systems have no process groups for signals, and no other
// signal.
func signalGroup(p *os.Process, _ os.Signal) { _ = p.Kill() }

func killedBy(*os.ProcessState) int { return 0 }

// guard does nothing: there are no process groups to kill.
func guard([]*process) (dismiss func()) { return func() {} }
