package rendezvous

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
)

// Process is the rank of this process in its job, as its launcher says.
type Process struct {
	// Rank is this process's number among Size.
	Rank transport.Rank
	Size int
	// LocalRank is its number among the LocalSize processes of this machine; both are -1 if the
	// launcher does not say.
	LocalRank, LocalSize int
	// Addr is host:port of rank 0's rendezvous; empty in a job of one.
	Addr string
	// Job names the job. If the launcher has a name or number for each launch, that is part of it.
	Job string
	// Source says which launcher's variables were used: "config", "torchrun", "openmpi", "pmi",
	// "slurm", "kubernetes" or "alone".
	Source string
	// Agent names the process that starts and restarts ranks on this machine, and Restart counts
	// its restarts; empty and 0 if the launcher does not restart ranks. Each agent has its own
	// count.
	Agent   string
	Restart uint32
}

// Switchyard's own variables. They complete what a launcher says and override its address.
const (
	envAddr     = "SWITCHYARD_ADDR"
	envJob      = "SWITCHYARD_JOB"
	envLauncher = "SWITCHYARD_LAUNCHER"
	envSize     = "SWITCHYARD_WORLD_SIZE"
	envService  = "SWITCHYARD_SERVICE"
)

const (
	// maxRanks bounds the size that a variable may state, so that a typing error is found here.
	maxRanks = 1 << 20
	// kubernetesPort is where rank 0's pod listens: pods have their own addresses, so any fixed
	// port is free.
	kubernetesPort = 29400
	unknownLocal   = -1
	aloneName      = "alone"
)

// Detect returns the rank of this process. If explicit has a Size above 0, it is the whole answer;
// otherwise its Addr and Job, if set, take precedence.
//
// Of the launchers whose variables getenv returns, the first of these is used: torchrun, Open MPI,
// PMI (MPICH and Intel MPI), Slurm (within a step), Kubernetes Indexed Jobs; without any the
// process is alone, rank 0 of 1. If two launchers disagree about rank or size, and the second is
// not one that commonly starts the first, the error names both; SWITCHYARD_LAUNCHER names the one
// to use.
//
// SWITCHYARD_ADDR overrides the address and SWITCHYARD_JOB the name of the job. Ranks that are all
// on one machine meet on its loopback address. The name of the job differs for every launch, so
// that no rank joins another launch of the same program: if the launcher has no name for a launch,
// SWITCHYARD_JOB is required. Besides the variables, /proc is read if there is one, to find the
// processes that started this one. Errors name the variable, its value and the limit.
func Detect(explicit Process, getenv func(string) string) (Process, error) {
	return detect(explicit, &env{getenv: getenv, proc: os.DirFS("/proc"), addrs: interfaceAddrs})
}

func detect(explicit Process, e *env) (Process, error) {
	if explicit.Size > 0 {
		explicit.Source = "config"
		return explicit, explicit.check()
	}
	l, err := e.choose()
	if err != nil {
		return Process{}, errtext.Errorf("rendezvous: %w", err)
	}
	if l == nil {
		return Process{Size: 1, LocalSize: 1, Job: first(explicit.Job, e.getenv(envJob)), Source: aloneName}, nil
	}
	p := l.read(e)
	p.Source = l.name
	e.complete(&p, explicit)
	if e.err() != nil {
		return Process{}, errtext.Errorf("rendezvous: %s: %w", l.name, e.err())
	}
	return p, p.check()
}

// check returns what is wrong with p.
func (p *Process) check() error {
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
		return fmt.Errorf("address %q is not host:port, with an IPv6 host in brackets: %w", addr, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > maxPort {
		return fmt.Errorf("address %q: port %q is outside 1..%d", addr, port, maxPort)
	}
	if host == "" || len(addr) > maxAddrBytes || strings.ContainsAny(host, " \t\r\n") {
		return fmt.Errorf("address %q: host is empty, holds spaces or is longer than %d bytes", addr, maxAddrBytes)
	}
	return nil
}
