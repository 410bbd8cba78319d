//go:build unix

package launch

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// children are the programs that the tests launch; each returns its exit code.
var children = map[string]func() int{
	"environment":                       printEnvironment,
	"rank 1 fails":                      func() int { return failAsRank1(waitForever) },
	"rank 1 fails, others are stubborn": failBesideTheStubborn,
	"wait":                              waitForever,
	"talk":                              talk,
	"note signal":                       noteSignal,
	"parent":                            func() int { return startGrandchild("rank 1 fails") },
	"parent that waits":                 func() int { fmt.Println("ready", os.Getpid()); return startGrandchild("wait") },
	"launcher":                          launcher,
	"killed":                            killSelf,
	"fails twice":                       failTwice,
	"rank 1 fails, others go on":        goOnWithout1,
	"read file":                         readFile,
}

func printEnvironment() int {
	var values []string
	for _, name := range []string{
		"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT",
		"TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID",
	} {
		values = append(values, os.Getenv(name))
	}
	fmt.Println(strings.Join(values, " "))
	if !IsRank() {
		return 1
	}
	return 0
}

func isRank1() bool { return os.Getenv("RANK") == "1" }

func failAsRank1(others func() int) int {
	if isRank1() {
		return 7
	}
	return others()
}

// failBesideTheStubborn fails rank 1 once rank 0 has reported, through a FIFO, that it ignores
// SIGTERM.
func failBesideTheStubborn() int {
	ready := os.Getenv("READY_DIR") + "/ready"
	if err := syscall.Mkfifo(ready, 0o600); err != nil && !os.IsExist(err) {
		return 2
	}
	if isRank1() {
		_, _ = os.ReadFile(ready) // returns when rank 0 has opened and closed it
		return 7
	}
	signal.Ignore(syscall.SIGTERM)
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		return 2
	}
	return waitForever()
}

// waitForever reports that it has started and waits for a signal that ends it.
func waitForever() int {
	fmt.Println("ready", os.Getpid())
	fmt.Println(<-never())
	return 0
}

// never returns a channel without values; a bare select{} would be reported as a deadlock.
func never() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	return c
}

// talk writes many lines to both outputs and an end without a newline.
func talk() int {
	for i := range 500 {
		fmt.Fprintf(os.Stdout, "out %s %d %s\n", os.Getenv("RANK"), i, strings.Repeat("x", i))
		fmt.Fprintf(os.Stderr, "err %s %d %s\n", os.Getenv("RANK"), i, strings.Repeat("y", i))
	}
	fmt.Print("bye " + os.Getenv("RANK"))
	return 0
}

func noteSignal() int {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	fmt.Println("ready")
	fmt.Println("got", <-c)
	return 0
}

// startGrandchild is to its child what "go run" is to a program: it waits for it and dies of
// SIGTERM alone.
func startGrandchild(name string) int {
	exe, err := os.Executable()
	if err != nil {
		return 2
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return cmd.ProcessState.ExitCode()
	}
	return 0
}

// failTwice prints which try of which job at which port it is in, and fails as rank 1 in the first
// two.
func failTwice() int {
	restart := os.Getenv("TORCHELASTIC_RESTART_COUNT")
	fmt.Println(restart, os.Getenv("TORCHELASTIC_MAX_RESTARTS"), os.Getenv("TORCHELASTIC_RUN_ID"), os.Getenv("MASTER_PORT"))
	if isRank1() && restart < "2" {
		return 7
	}
	return 0
}

func killSelf() int {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	return waitForever()
}

// goOnWithout1 fails as rank 1, waits as rank 2, and ends well as any other.
func goOnWithout1() int {
	switch os.Getenv("RANK") {
	case "1":
		return 7
	case "2":
		return waitForever()
	}
	fmt.Println("went on")
	return 0
}

// readFile prints the content of the first file that it was given.
func readFile() int {
	text, err := io.ReadAll(os.NewFile(3, "given"))
	if err != nil {
		return 2
	}
	fmt.Println(string(text))
	return 0
}
