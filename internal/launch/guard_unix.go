//go:build unix

package launch

import (
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// guardScript waits for a line, which says that all is well, and kills the groups it is given if
// its input ends without one.
const guardScript = `read -r line || kill -s KILL -- "$@"`

// guard has the process groups of procs killed if this process dies before it calls dismiss. It is
// a shell that waits on a pipe of which only this process holds the other end, so it learns of
// every death, and unlike what the system offers it reaches the children of ranks as well. Without
// a shell there is no guard.
func guard(procs []*process) (dismiss func()) {
	args := []string{"-c", guardScript, "guard"}
	for _, p := range procs {
		args = append(args, strconv.Itoa(-p.cmd.Process.Pid))
	}
	cmd := exec.Command("sh", args...)
	// an interrupt at the terminal is not for it
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return func() {}
	}
	if err := cmd.Start(); err != nil {
		_ = in.Close()
		return func() {}
	}
	return func() {
		_, _ = io.WriteString(in, "\n")
		_ = in.Close()
		_ = cmd.Wait()
	}
}
