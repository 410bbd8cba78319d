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

// Place is who this process is in its job, as its launcher says.
type Place struct {
	// Rank is this process's number; Size how many there are.
	Rank transport.Rank
	Size int
	// LocalRank is its number among the LocalSize processes of this machine; both are -1 where the
	// launcher does not say.
	LocalRank, LocalSize int
	// Addr is host:port of rank 0's rendezvous; empty in a job of one.
	Addr string
	// Job names the job. Where the launcher has a name or number for each launch, that is part of
	// it.
	Job string
	// Source says which launcher's variables were used: "config", "torchrun", "openmpi", "pmi",
	// "slurm", "kubernetes" or "alone".
	Source string
	// Agent names the process that starts and restarts ranks on this machine, and Restart counts
	// how often it has done so; empty and 0 where the launcher starts no rank again. Agents count
	// apart from each other.
	Agent   string
	Restart uint32
}

// The variables of our own. They complete what a launcher says and override its address.
const (
	envAddr     = "SWITCHYARD_ADDR"
	envJob      = "SWITCHYARD_JOB"
	envLauncher = "SWITCHYARD_LAUNCHER"
	envSize     = "SWITCHYARD_WORLD_SIZE"
	envService  = "SWITCHYARD_SERVICE"
)

const (
	// maxRanks bounds what a variable may state as size, so that a typing error is found here.
	maxRanks = 1 << 20
	// kubernetesPort is where rank 0's pod listens: pods have their own addresses, so any fixed one
	// will do.
	kubernetesPort = 29400
	unknownLocal   = -1
	aloneName      = "alone"
)

// Detect finds out who this process is. explicit, if its Size is above 0, is the whole answer;
// otherwise its Addr and Job, if set, come before all others.
//
// Of the launchers whose variables getenv returns, the first of these is believed: torchrun, Open
// MPI, PMI (MPICH and Intel MPI), Slurm (within a step), Kubernetes Indexed Jobs; without any the
// process is alone, rank 0 of 1. Where two launchers disagree about rank or size, and the second is
// not one that commonly starts the first, that is an error which names both; SWITCHYARD_LAUNCHER
// names the one to believe.
//
// SWITCHYARD_ADDR overrides the address and SWITCHYARD_JOB the name of the job. Ranks that are all
// on one machine meet on its loopback address. The name of the job is another one for every launch,
// so that no rank joins another launch of the same program: where the launcher shows nothing of
// that kind, SWITCHYARD_JOB is demanded. Besides the variables, /proc is read where there is one:
// it tells what started this process. Errors name the variable, its value and the limit.
func Detect(explicit Place, getenv func(string) string) (Place, error) {
	return detect(explicit, &env{getenv: getenv, proc: os.DirFS("/proc"), addrs: interfaceAddrs})
}

func detect(explicit Place, e *env) (Place, error) {
	if explicit.Size > 0 {
		explicit.Source = "config"
		return explicit, explicit.check()
	}
	l, err := e.choose()
	if err != nil {
		return Place{}, errtext.Errorf("rendezvous: %w", err)
	}
	if l == nil {
		return Place{Size: 1, LocalSize: 1, Job: first(explicit.Job, e.getenv(envJob)), Source: aloneName}, nil
	}
	p := l.read(e)
	p.Source = l.name
	e.complete(&p, explicit)
	if e.err() != nil {
		return Place{}, errtext.Errorf("rendezvous: %s: %w", l.name, e.err())
	}
	return p, p.check()
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
