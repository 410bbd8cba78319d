package rendezvous

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

const (
	// slurmDaemon is the process that starts the tasks of a step on one host.
	slurmDaemon = "slurmstepd"
	// Step numbers from firstSpecialStep on are not parallel steps but salloc's shell, a batch
	// script and the like, which are one process each.
	firstSpecialStep = 0xfffffff0
)

var slurmPMI = regexp.MustCompile(`^\d+\.\d+$`)

// slurmSpeaksPMI reports whether the variables of PMI and PMIx, if any, are Slurm's: srun
// --mpi=pmi2 names a launch by job and step, and --mpi=pmix by a namespace of its own. They add
// nothing to Slurm's own.
func (e *env) slurmSpeaksPMI() bool {
	if !e.has("SLURM_JOB_ID") || e.has("MPI_LOCALNRANKS") {
		return false
	}
	return strings.HasPrefix(e.getenv("PMIX_NAMESPACE"), "slurm.pmix.") || slurmPMI.MatchString(e.getenv("PMI_JOBID"))
}

// slurmStep reports whether this process is a task of a parallel step. Its variables alone do not
// say so: a batch script that was submitted from within a step has inherited that step's.
func slurmStep(e *env) bool {
	id, err := strconv.ParseUint(e.getenv("SLURM_STEP_ID"), 10, 32)
	if e.has("SLURM_STEP_ID") && err != nil {
		return true // reading it is an error
	}
	if err != nil || id >= firstSpecialStep {
		return false
	}
	if tasks := e.getenv("SLURM_STEP_NUM_TASKS"); tasks != "" && tasks != e.getenv("SLURM_NTASKS") {
		return false
	}
	job, step, ok := e.slurmAncestor()
	if !ok {
		return true
	}
	if _, err := strconv.Atoi(step); err != nil {
		return false // "batch", "interactive", "extern"
	}
	return job == e.getenv("SLURM_JOB_ID") || e.hetSize() > 1 // whose groups are jobs of their own
}

// slurmAncestor reads job and step from the title of the daemon that started this process:
// "slurmstepd: [77.0]".
func (e *env) slurmAncestor() (job, step string, ok bool) {
	p := e.nearest(slurmDaemon)
	if p == nil {
		return "", "", false
	}
	title := strings.TrimRight(strings.Join(p.args, " "), " \x00")
	inside, isTitle := strings.CutPrefix(title, slurmDaemon+": [")
	job, step, ok = strings.Cut(strings.TrimSuffix(inside, "]"), ".")
	return job, step, isTitle && ok
}

func slurm(e *env) Process {
	p := Process{Job: nameOf("slurm", e.getenv("SLURM_JOB_ID"), e.getenv("SLURM_STEP_ID"))}
	if n := e.getenv("SLURM_RESTART_COUNT"); n != "" && n != "0" {
		p.Job = nameOf(p.Job, "restart"+n) // a job that is queued again keeps its number
	}
	if id := e.getenv("SLURM_STEP_ID"); !isDigits(id) {
		e.fault("SLURM_STEP_ID=%.40q is not a number", id)
	}
	p.Rank, p.Size = e.world("SLURM_PROCID", "SLURM_NTASKS")
	p.LocalRank = e.optional("SLURM_LOCALID", 0, p.Size-1)
	p.LocalSize = unknownLocal
	list := e.getenv("SLURM_STEP_NODELIST")
	if list == "" {
		return p
	}
	_, alone, err := firstHost(list)
	if err != nil {
		e.fault("SLURM_STEP_NODELIST=%.80q: %w", list, err)
		return p
	}
	if alone {
		p.LocalSize = p.Size
		return p
	}
	host, err := e.slurmFirst(list)
	if err != nil && !e.has(envAddr) {
		e.fault("%w: set %s to host:port of rank 0", err, envAddr)
	}
	p.Addr = net.JoinHostPort(host, strconv.Itoa(portOf(p.Job)))
	return p
}

// slurmFirst returns the host of rank 0 in a step on several hosts.
func (e *env) slurmFirst(list string) (string, error) {
	if d := e.getenv("SLURM_DISTRIBUTION"); strings.HasPrefix(d, "arbitrary") {
		return "", fmt.Errorf("SLURM_DISTRIBUTION=%.40s: no variable says on which host rank 0 is", d)
	}
	if e.hetSize() > 1 {
		return e.hetFirst(list)
	}
	host, _, err := firstHost(list)
	return host, err
}

// hetSize is the number of groups of a heterogeneous job; older versions call them packs.
func (e *env) hetSize() int { return max(e.count("SLURM_HET_SIZE"), e.count("SLURM_PACK_SIZE")) }

// hetFirst returns the host of rank 0 in a heterogeneous job: ranks are numbered group by group,
// whereas list is sorted. A step uses all groups or some; only all of them and a single one can be
// distinguished.
func (e *env) hetFirst(list string) (string, error) {
	hosts, begin := 0, ""
	for g := range min(e.hetSize(), maxRanks) {
		name := fmt.Sprintf("SLURM_JOB_NODELIST_HET_GROUP_%d", g)
		group := e.getenv(name)
		if group == "" {
			name = fmt.Sprintf("SLURM_JOB_NODELIST_PACK_GROUP_%d", g)
			group = e.getenv(name)
		}
		host, _, err := firstHost(group)
		if err != nil {
			return "", fmt.Errorf("%s=%.80q: %w", name, group, err)
		}
		if group == list {
			return host, nil
		}
		if g == 0 {
			begin = host
		}
		n, err := countHosts(group)
		if err != nil {
			return "", fmt.Errorf("%s=%.80q: %w", name, group, err)
		}
		hosts += n
	}
	if n := e.count("SLURM_STEP_NUM_NODES"); n != hosts {
		return "", fmt.Errorf("a step on %d of the %d hosts of a heterogeneous job: no variable says on which rank 0 is", n, hosts)
	}
	return begin, nil
}
