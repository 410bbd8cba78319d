package rendezvous

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
)

// env is the environment of a process. It reads variables and collects what is wrong with them.
type env struct {
	getenv func(string) string
	proc   fs.FS // /proc; nil where there is none
	addrs  func() ([]netip.Addr, error)
	above  []process // the result of ancestors
	faults []error
}

func (e *env) err() error { return errors.Join(e.faults...) }

func (e *env) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Errorf(format, args...))
}

func (e *env) has(name string) bool { return e.getenv(name) != "" }

// number reads a variable that must be an integer from low to high.
func (e *env) number(name string, low, high int) int {
	v := e.getenv(name)
	n, err := strconv.Atoi(v)
	if err != nil || v != strconv.Itoa(n) {
		e.fault("%s=%q is not an integer", name, v)
		return low
	}
	if n < low || n > high {
		e.fault("%s=%d is outside %d..%d", name, n, low, high)
		return low
	}
	return n
}

// optional is number for a variable that may be absent, which gives -1.
func (e *env) optional(name string, low, high int) int {
	if !e.has(name) {
		return unknownLocal
	}
	return e.number(name, low, high)
}

// count reads a variable that is only a hint: a value that is not a number is 0.
func (e *env) count(name string) int {
	n, err := strconv.Atoi(e.getenv(name))
	if err != nil {
		return 0
	}
	return n
}

// world reads rank and size, and checks that the rank is below the size.
func (e *env) world(rank, size string) (transport.Rank, int) {
	n := e.number(size, 1, maxRanks)
	return transport.Rank(e.number(rank, 0, n-1)), n
}

// complete applies the caller's values and our own variables, and reports what is still missing.
func (e *env) complete(p *Process, explicit Process) {
	readable := len(e.faults) == 0
	// In a pod of an Indexed Job that may be the number of pods, each of which starts several
	// ranks.
	if n := e.getenv(envSize); n != "" && readable && n != strconv.Itoa(p.Size) && !e.has("JOB_COMPLETION_INDEX") {
		e.fault("%s=%.20q, but this launcher started %d ranks", envSize, n, p.Size)
	}
	p.Job = first(explicit.Job, e.getenv(envJob), p.Job)
	if p.Job == "" && p.Size > 1 && readable {
		e.fault("this launcher gives no name to a launch: set %s to one that all its ranks share and no other launch has", envJob)
	}
	if addr := e.getenv(envAddr); addr != "" && explicit.Addr == "" {
		if err := checkAddr(addr); err != nil {
			e.fault("%s=%q: %w", envAddr, addr, err)
		}
	}
	local := p.LocalSize == p.Size
	switch own := first(explicit.Addr, e.getenv(envAddr)); {
	case own != "":
		p.Addr = own
	case p.Size <= 1 || !readable:
	case local:
		p.Addr = net.JoinHostPort(e.loopback(), strconv.Itoa(e.localPort(p.Job)))
	case p.Addr == "":
		e.fault("this launcher gives no address, and %s of %d ranks are on this host: set %s to host:port of rank 0",
			known(p.LocalSize), p.Size, envAddr)
	}
}

func known(n int) string {
	if n < 0 {
		return "an unknown number"
	}
	return strconv.Itoa(n)
}

// first returns the first of texts that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// nameOf joins what identifies a launch into the name of a job. A name that would be too long ends
// in a digest.
func nameOf(parts ...string) string {
	var some []string
	for _, p := range parts {
		if p != "" {
			some = append(some, p)
		}
	}
	name := strings.Join(some, ".")
	if len(name) <= maxJobBytes {
		return name
	}
	const kept, digits = 80, 16
	return fmt.Sprintf("%s.%x", strings.ToValidUTF8(name[:kept], ""), sha256.Sum256([]byte(name)))[:kept+1+digits]
}
