package mpi

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// processors returns how many processors this process may use: cpus, those that it may run on, or
// less if a container has a quota of their time. root is the system's file system. A quota is that
// of a control group or one above it, and may be a fraction; one that cannot be read is none.
func processors(root fs.FS, cpus int) float64 {
	least := float64(cpus)
	for _, dir := range groupsOf(root) {
		for ; strings.HasPrefix(dir, groupRoot); dir = path.Dir(dir) {
			least = min(least, quotaOf(root, dir))
		}
	}
	return least
}

// groupRoot is the folder of control groups.
const groupRoot = "sys/fs/cgroup"

// groupsOf lists the folders of this process's control groups that may limit its time, of both
// versions. A container that sees its own group as the root has that at the top.
func groupsOf(root fs.FS) []string {
	dirs := []string{groupRoot, path.Join(groupRoot, "cpu"), path.Join(groupRoot, "cpu,cpuacct")}
	text, _ := fs.ReadFile(root, "proc/self/cgroup")
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		part := strings.SplitN(lines.Text(), ":", 3) // number, controllers, path
		switch {
		case len(part) < 3:
		case part[1] == "":
			dirs = append(dirs, path.Join(groupRoot, part[2]))
		case has(part[1], "cpu"):
			dirs = append(dirs, path.Join(groupRoot, "cpu", part[2]), path.Join(groupRoot, part[1], part[2]))
		}
	}
	return dirs
}

func has(list, name string) bool {
	for _, s := range strings.Split(list, ",") {
		if s == name {
			return true
		}
	}
	return false
}

// quotaOf is the quota of one control group in processors, or infinity.
func quotaOf(root fs.FS, dir string) float64 {
	// version 2: "quota period", or "max period"
	if text, err := fs.ReadFile(root, path.Join(dir, "cpu.max")); err == nil {
		if part := strings.Fields(string(text)); len(part) == 2 {
			return share(part[0], part[1])
		}
	}
	quota, err := fs.ReadFile(root, path.Join(dir, "cpu.cfs_quota_us"))
	period, err2 := fs.ReadFile(root, path.Join(dir, "cpu.cfs_period_us"))
	if err != nil || err2 != nil {
		return math.Inf(1)
	}
	return share(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

// share is quota / period; a quota that is not a positive number is none.
func share(quota, period string) float64 {
	q, err := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err != nil || err2 != nil || q <= 0 || p <= 0 {
		return math.Inf(1)
	}
	return q / p
}

// isCrowded reports whether one machine has more ranks than processors that they may use.
func isCrowded(ranks int, processors float64) bool { return float64(ranks) > processors }
