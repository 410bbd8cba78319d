//go:build unix && !linux

package launch

import "syscall"

// groupAttributes starts a rank as the leader of a new process group. These systems cannot end it
// with its parent.
func groupAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
