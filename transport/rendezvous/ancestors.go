package rendezvous

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// maxAncestors bounds the number of ancestors that are read.
const maxAncestors = 64

// process is an ancestor of this process.
type process struct {
	pid     int
	started uint64 // in clock ticks since boot: pid and started identify the process for good
	name    string // at most 15 bytes, as the kernel keeps it
	args    []string
}

// ancestors returns the ancestors of this process, the nearest first, as far as /proc shows them.
func (e *env) ancestors() []process {
	if e.above != nil || e.proc == nil {
		return e.above
	}
	e.above = []process{}
	_, parent, err := e.self()
	for range maxAncestors {
		if err != nil || parent == 0 {
			break
		}
		var p process
		if p, parent, err = readStat(e.proc, strconv.Itoa(parent)); err == nil {
			line, _ := fs.ReadFile(e.proc, path.Join(strconv.Itoa(p.pid), "cmdline"))
			p.args = strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
			e.above = append(e.above, p)
		}
	}
	return e.above
}

// self returns this process and the number of its parent.
func (e *env) self() (p process, parent int, err error) {
	if e.proc == nil {
		return process{}, 0, fs.ErrNotExist
	}
	return readStat(e.proc, "self")
}

// readStat reads /proc/<folder>/stat. The name of a process is in parentheses and may itself
// contain some.
func readStat(proc fs.FS, folder string) (p process, parent int, err error) {
	text, err := fs.ReadFile(proc, path.Join(folder, "stat"))
	if err != nil {
		return process{}, 0, err
	}
	line := string(text)
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return process{}, 0, fmt.Errorf("rendezvous: /proc/%s/stat holds no name", folder)
	}
	const parentField, startedField = 1, 19 // of those after the name
	fields := strings.Fields(line[end+1:])
	if len(fields) <= startedField {
		return process{}, 0, fmt.Errorf("rendezvous: /proc/%s/stat has %d fields after the name", folder, len(fields))
	}
	p.name = line[open+1 : end]
	if p.pid, err = strconv.Atoi(strings.TrimSpace(line[:open])); err != nil {
		return process{}, 0, err
	}
	if p.started, err = strconv.ParseUint(fields[startedField], 10, 64); err != nil {
		return process{}, 0, err
	}
	parent, err = strconv.Atoi(fields[parentField])
	return p, parent, err
}

// nearest returns the nearest ancestor that has one of the names, or nil.
func (e *env) nearest(names ...string) *process {
	above := e.ancestors()
	for i := range above {
		for _, n := range names {
			if above[i].name == n {
				return &above[i]
			}
		}
	}
	return nil
}

// identity identifies p among all processes since this machine was booted. Containers that share
// the network have process numbers of their own, so the namespace of the numbers is part of it.
func (e *env) identity(p *process) string {
	space, _ := fs.ReadLink(e.proc, "self/ns/pid") // "pid:[4026531836]"
	space = strings.Trim(strings.TrimPrefix(space, "pid:"), "[]")
	return fmt.Sprintf("%s-%d-%d", space, p.pid, p.started)
}
