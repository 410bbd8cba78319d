package launch

import "syscall"

// groupAttributes starts a rank as the leader of a new process group. The system kills it when the
// thread that started it dies.
func groupAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
