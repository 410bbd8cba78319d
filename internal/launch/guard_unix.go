//go:build unix

package launch

import (
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// guardScript waits for a line, and kills the groups in its arguments if its input ends without
// one.
const guardScript = `read -r line || kill -s KILL -- "$@"`

// guard kills the process groups of procs if this process dies before it calls dismiss. It is a
// shell that waits on a pipe whose other end only this process has. So it notices every death, and
// other than the system's means it also reaches the children of ranks. Without a shell there is no
// guard.
func guard(procs []*process) (dismiss func()) {
	args := []string{"-c", guardScript, "guard"}
	for _, p := range procs {
		args = append(args, strconv.Itoa(-p.cmd.Process.Pid))
	}
	cmd := exec.Command("sh", args...)
	// an interrupt at the terminal does not reach it
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
