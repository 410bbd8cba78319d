package rendezvous

import (
	"math"
	"net"
	"path"
	"strconv"
	"strings"
)

// launcher reads the variables of one launcher.
type launcher struct {
	name string
	// rank and size are the names of the variables for these.
	rank, size string
	// seen reports whether this launcher has set its variables.
	seen func(e *env) bool
	read func(e *env) Process
}

// launchers are tried in this order: a later one commonly starts an earlier one. mpirun in a Slurm
// allocation sets its own variables beside Slurm's, and its rank numbers are those that count.
var launchers = []launcher{
	{"torchrun", "RANK", "WORLD_SIZE", sign("RANK"), torchrun},
	{"openmpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", sign("OMPI_COMM_WORLD_RANK"), openMPI},
	{"pmi", "PMI_RANK", "PMI_SIZE", seesPMI, pmi},
	{"pmi", "PMIX_RANK", envSize, seesPMIx, pmix},
	{"pmi", "PMI_ID", envSize, seesPMIPort, pmiPort},
	{"slurm", "SLURM_PROCID", "SLURM_NTASKS", slurmStep, slurm},
	{"kubernetes", "JOB_COMPLETION_INDEX", envSize, sign("JOB_COMPLETION_INDEX"), kubernetes},
}

func sign(name string) func(*env) bool {
	return func(e *env) bool { return e.has(name) }
}

func torchrun(e *env) Process {
	p := Process{}
	p.Rank, p.Size = e.world("RANK", "WORLD_SIZE")
	p.LocalRank = e.optional("LOCAL_RANK", 0, p.Size-1)
	p.LocalSize = e.optional("LOCAL_WORLD_SIZE", 1, p.Size)
	p.Job = first(e.getenv("TORCHELASTIC_RUN_ID"), "torchrun")
	if host := e.getenv("MASTER_ADDR"); host != "" {
		// Launches on one host have different MASTER_PORTs. Torch's own store listens there.
		port := strconv.Itoa(e.number("MASTER_PORT", 1, maxPort))
		p.Job = nameOf(p.Job, port)
		p.Addr = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(portOf(p.Job)))
	}
	agent, attempt := torchAgent(e.getenv("TORCHELASTIC_ERROR_FILE"))
	if p.LocalSize == p.Size {
		// One agent starts all ranks, so its restarts are those of the job.
		p.Job = nameOf(p.Job, agent, first(attempt, e.getenv("TORCHELASTIC_RESTART_COUNT")))
	}
	if agent != "" {
		p.Agent, p.Restart = agent, uint32(max(0, e.optional("TORCHELASTIC_RESTART_COUNT", 0, math.MaxInt32)))
	}
	return p
}

// torchAgent parses the path of a rank's error file: .../<folder of the
// agent>/attempt_1/0/error.json, where each agent chooses a random name for its folder.
func torchAgent(file string) (agent, attempt string) {
	up := path.Dir(path.Dir(file))
	if !strings.HasPrefix(path.Base(up), "attempt_") {
		return "", ""
	}
	folder := path.Dir(up)
	return nameOf(path.Base(path.Dir(folder)), path.Base(folder)), path.Base(up)
}

// The processes by which MPI's launchers start ranks on each host.
var (
	openMPIDaemons = []string{"mpirun", "mpiexec", "orterun", "mpirun.openmpi", "mpiexec.openmpi", "prterun", "prte", "orted", "prted"}
	hydraDaemons   = []string{"hydra_pmi_proxy", "pmi_proxy"}
)

func openMPI(e *env) Process {
	p := Process{}
	p.Rank, p.Size = e.world("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
	p.LocalRank = e.optional("OMPI_COMM_WORLD_LOCAL_RANK", 0, p.Size-1)
	p.LocalSize = e.optional("OMPI_COMM_WORLD_LOCAL_SIZE", 1, p.Size)
	// Both names hold the number of mpirun's process, which containers of one host may share.
	name := first(e.getenv("PMIX_NAMESPACE"), e.getenv("OMPI_MCA_ess_base_jobid"))
	// 128 bits, new for each launch; until Open MPI 4
	drawn := e.getenv("OMPI_MCA_orte_precondition_transports")
	if name != "" && drawn == "" && p.LocalSize == p.Size {
		drawn = e.startedBy(openMPIDaemons...)
	}
	p.Job = nameOf(name, drawn)
	return p
}

// startedBy is the identity of the nearest process above this one that has one of the names, or
// empty.
func (e *env) startedBy(names ...string) string {
	if p := e.nearest(names...); p != nil {
		return e.identity(p)
	}
	return ""
}

// seesPMI: MPICH, Intel MPI and their like. Slurm sets the same variables for its own steps.
func seesPMI(e *env) bool { return e.has("PMI_RANK") && !e.slurmSpeaksPMI() }

func pmi(e *env) Process {
	p := Process{}
	p.Rank, p.Size = e.world("PMI_RANK", "PMI_SIZE")
	p.LocalRank = e.optional("MPI_LOCALRANKID", 0, p.Size-1)
	p.LocalSize = e.optional("MPI_LOCALNRANKS", 1, p.Size)
	p.Job = first(e.hydraLaunch(p.LocalSize == p.Size), nameOf(e.getenv("I_MPI_HYDRA_UUID")))
	// else it is Hydra, which has PMI_JOBID from what it was started by, if at all
	if p.Job == "" && !e.has("MPI_LOCALNRANKS") {
		p.Job = nameOf(e.getenv("PMI_JOBID"))
	}
	return p
}

// hydraLaunch names a launch of MPICH's, whose variables do not: on one host by the process that
// starts its ranks, on several by the port at which all these processes reach mpiexec.
func (e *env) hydraLaunch(local bool) string {
	p := e.nearest(hydraDaemons...)
	switch {
	case p == nil:
		return ""
	case local:
		return nameOf("hydra", e.identity(p))
	}
	for i, a := range p.args[:max(0, len(p.args)-1)] {
		if a == "--control-port" {
			return nameOf("hydra", p.args[i+1])
		}
	}
	return ""
}

// seesPMIx: a PMIx launcher that is neither Open MPI's nor Slurm's.
func seesPMIx(e *env) bool {
	return e.has("PMIX_RANK") && !e.has("PMI_RANK") && !e.has("OMPI_COMM_WORLD_RANK") && !e.slurmSpeaksPMI()
}

func pmix(e *env) Process {
	p := Process{LocalRank: unknownLocal, LocalSize: unknownLocal, Job: nameOf(e.getenv("PMIX_NAMESPACE"))}
	if !e.has(envSize) {
		e.fault("PMIX_RANK=%.20q, but this launcher sets no variable with the size: set %s", e.getenv("PMIX_RANK"), envSize)
		return p
	}
	p.Rank, p.Size = e.world("PMIX_RANK", envSize)
	return p
}

// seesPMIPort: mpiexec -pmi-port leaves the address of a server instead of the answers.
func seesPMIPort(e *env) bool { return e.has("PMI_PORT") && e.has("PMI_ID") && !e.has("PMI_RANK") }

func pmiPort(e *env) Process {
	e.fault("PMI_PORT=%.80q without PMI_RANK and PMI_SIZE: with -pmi-port, mpiexec gives rank and size to MPI programs only: "+
		"start without it", e.getenv("PMI_PORT"))
	return Process{}
}

func kubernetes(e *env) Process {
	p := Process{LocalRank: unknownLocal, LocalSize: unknownLocal}
	if !e.has(envSize) {
		e.fault("an Indexed Job does not state its size: set %s to its completions", envSize)
		return p
	}
	p.Rank, p.Size = e.world("JOB_COMPLETION_INDEX", envSize)
	if p.Size == 1 {
		return p
	}
	// With setHostnameAsFQDN the name has a domain, which then is that of all pods of the job.
	pod, domain, _ := strings.Cut(strings.TrimSuffix(e.getenv("HOSTNAME"), "."), ".")
	job, isOurs := strings.CutSuffix(pod, "-"+strconv.Itoa(int(p.Rank)))
	isOurs = isOurs && job != ""
	if isOurs {
		p.Job = job
	}
	domain = first(e.getenv(envService), domain)
	switch {
	case e.has(envAddr):
	case !isOurs:
		e.fault("HOSTNAME=%q is not <job>-%d: set %s to host:port of rank 0", e.getenv("HOSTNAME"), p.Rank, envAddr)
	case domain == "":
		e.fault("an Indexed Job is reached through a headless service: set %s to its name", envService)
	default:
		p.Addr = net.JoinHostPort(job+"-0."+domain, strconv.Itoa(kubernetesPort))
	}
	return p
}
