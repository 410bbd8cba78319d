// Package cpushare holds processes to equal shares of the processors, each in a control group of
// its own, so that they do not take each other's time where there are more of them than processors.
package cpushare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// groupRoot is where control groups are mounted.
const groupRoot = "/sys/fs/cgroup"

// period is how often a share begins anew, in µs: short, so that waiting for the next is.
const period = 10_000

// Shares is a control group for each of some processes.
type Shares struct {
	prefix string // of the groups' directories; the number of the process follows
	n      int
}

// New makes groups for n processes, each of which may use that many processors, or part of one. It
// needs root, Linux and the cpu controller of control groups, of version 1 or 2. Remove removes
// them.
func New(n int, processors float64) (*Shares, error) { return newIn(groupRoot, n, processors) }

func newIn(root string, n int, processors float64) (*Shares, error) {
	parent, second, err := controller(root)
	if err != nil {
		return nil, fmt.Errorf("an equal share of processors needs root and control groups of Linux: %w", err)
	}
	s := &Shares{prefix: filepath.Join(parent, fmt.Sprintf("switchyard%d.", os.Getpid())), n: n}
	quota := max(int(processors*period), 1000) // the least that Linux takes
	files := map[string]string{"cpu.max": fmt.Sprint(quota, " ", period)}
	if !second {
		files = map[string]string{"cpu.cfs_period_us": fmt.Sprint(period), "cpu.cfs_quota_us": fmt.Sprint(quota)}
	}
	for i := range n {
		if err := s.make(i, files); err != nil {
			return nil, errors.Join(err, s.Remove())
		}
	}
	return s, nil
}

// controller returns the directory in which groups with a share of processors are made, and whether
// they are of version 2.
func controller(root string) (dir string, second bool, err error) {
	if first := filepath.Join(root, "cpu"); exists(filepath.Join(first, "cpu.cfs_quota_us")) {
		return first, false, nil
	}
	text, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return "", false, err
	}
	if !strings.Contains(" "+strings.TrimSpace(string(text))+" ", " cpu ") {
		return "", false, fmt.Errorf("%s has no cpu controller", root)
	}
	return root, true, os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0o644)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (s *Shares) dir(i int) string { return fmt.Sprint(s.prefix, i) }

func (s *Shares) make(i int, files map[string]string) error {
	if err := os.Mkdir(s.dir(i), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir(i), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Command is that of a program as the process whose number is in the environment variable RANK.
func (s *Shares) Command(program ...string) []string {
	return append([]string{"sh", "-c", `echo $$ > "$0$RANK/cgroup.procs" && exec "$@"`, s.prefix}, program...)
}

// Remove removes the groups, once their processes have ended.
func (s *Shares) Remove() error {
	var errs []error
	for i := range s.n {
		if err := os.Remove(s.dir(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
