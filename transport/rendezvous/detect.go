package rendezvous

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
)

// Place is who this process is in its job, as its launcher says.
type Place struct {
	// Rank is this process's number; Size how many there are.
	Rank transport.Rank
	Size int
	// LocalRank is its number among the LocalSize processes of this machine; both are -1 where the launcher does
	// not say.
	LocalRank, LocalSize int
	// Addr is host:port of rank 0's rendezvous; empty in a job of one.
	Addr string
	// Job names the job; empty where the launcher has no name for it.
	Job string
	// Source says which launcher's variables were used: "config", "torchrun", "openmpi", "pmi", "slurm",
	// "kubernetes" or "alone".
	Source string
}

// The variables of our own. They complete what a launcher says and override its address.
const (
	envAddr    = "SWITCHYARD_ADDR"
	envJob     = "SWITCHYARD_JOB"
	envSize    = "SWITCHYARD_WORLD_SIZE"
	envService = "SWITCHYARD_SERVICE"
)

const (
	// maxRanks bounds what a variable may state as size, so that a typing error is found here.
	maxRanks = 1 << 20
	// firstPort and portSpan are the range of ports derived from a job's id: below the range from which Linux
	// takes ephemeral ports (32768), so that no connection of the machine happens to hold one.
	firstPort = 20000
	portSpan  = 12000
	// kubernetesPort is where rank 0's pod listens: pods have their own addresses, so any fixed one will do.
	kubernetesPort = 29400
	unknownLocal   = -1
)

// Detect finds out who this process is. explicit, if its Size is above 0, is the whole answer. Otherwise the
// first launcher whose variables getenv returns is believed, and no other: torchrun, Open MPI, PMI, Slurm
// (within a step), Kubernetes Indexed Jobs; without any the process is alone, rank 0 of 1. SWITCHYARD_ADDR
// overrides the address and SWITCHYARD_JOB the name of the job. Errors name the variable, its value and the limit.
func Detect(explicit Place, getenv func(string) string) (Place, error) {
	if explicit.Size > 0 {
		explicit.Source = "config"
		return explicit, explicit.check()
	}
	e := &env{getenv: getenv}
	for _, l := range launchers {
		if getenv(l.sign) == "" {
			continue
		}
		p := l.read(e)
		p.Source = l.name
		e.complete(&p)
		if e.err() != nil {
			return Place{}, fmt.Errorf("rendezvous: %s: %w", l.name, e.err())
		}
		return p, p.check()
	}
	return Place{Size: 1, LocalSize: 1, Job: getenv(envJob), Source: "alone"}, nil
}

// check reports what is wrong with p as a whole.
func (p *Place) check() error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("rendezvous: %s: "+format, append([]any{p.Source}, args...)...)
	}
	switch {
	case p.Size > maxRanks:
		return fault("size %d is above the limit %d", p.Size, maxRanks)
	case p.Rank < 0 || int(p.Rank) >= p.Size:
		return fault("rank %d is outside 0..%d", p.Rank, p.Size-1)
	case p.LocalSize > p.Size:
		return fault("local size %d is above the size %d", p.LocalSize, p.Size)
	case p.LocalSize > 0 && p.LocalRank >= p.LocalSize:
		return fault("local rank %d is outside 0..%d", p.LocalRank, p.LocalSize-1)
	case p.Size == 1 && p.Addr == "":
		return nil
	}
	if err := checkAddr(p.Addr); err != nil {
		return fault("%w", err)
	}
	return CheckTerms(p.Job, nil)
}

func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q is not host:port: %w", addr, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("address %q: port %q is outside 1..65535", addr, port)
	}
	if host == "" || len(addr) > maxAddrBytes || strings.ContainsAny(host, " \t\r\n") {
		return fmt.Errorf("address %q: host is empty, holds spaces or is longer than %d bytes", addr, maxAddrBytes)
	}
	return nil
}

// env reads variables and collects what is wrong with them.
type env struct {
	getenv func(string) string
	faults []error
}

func (e *env) err() error { return errors.Join(e.faults...) }

func (e *env) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Errorf(format, args...))
}

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
	if e.getenv(name) == "" {
		return unknownLocal
	}
	return e.number(name, low, high)
}

// world reads rank and size, which must fit.
func (e *env) world(rank, size string) (transport.Rank, int) {
	n := e.number(size, 1, maxRanks)
	return transport.Rank(e.number(rank, 0, n-1)), n
}

// complete applies our own variables, and demands an address where there must be one.
func (e *env) complete(p *Place) {
	if job := e.getenv(envJob); job != "" {
		p.Job = job
	}
	if addr := e.getenv(envAddr); addr != "" {
		if err := checkAddr(addr); err != nil {
			e.fault("%s=%q: %w", envAddr, addr, err)
		}
		p.Addr = addr
		return
	}
	if p.Addr == "" && p.Size > 1 && len(e.faults) == 0 {
		if p.LocalSize != p.Size {
			e.fault("this launcher gives no address, and %d of %d ranks are on this host: set %s to host:port of rank 0",
				p.LocalSize, p.Size, envAddr)
			return
		}
		p.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(portOf(p.Job)))
	}
}

// portOf derives a port from a job's id: the same for all its ranks, probably another for another job.
func portOf(job string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(job))
	return firstPort + int(h.Sum32()%portSpan)
}
