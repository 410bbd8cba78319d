//go:build unix && !linux

package launch

import "syscall"

// groupAttributes puts a rank at the head of a process group of its own. These systems cannot tie
// its life to that of its parent.
func groupAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
