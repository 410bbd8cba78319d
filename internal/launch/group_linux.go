package launch

import "syscall"

// groupAttributes puts a rank at the head of a process group of its own and has the system kill it
// when the thread that started it dies.
func groupAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
