package rendezvous

import (
	"net"
	"strconv"
	"strings"
)

// launcher knows the variables of one way to start a job.
type launcher struct {
	name string
	sign string // the variable whose presence means this launcher
	read func(e *env) Place
}

// launchers are asked in this order. mpirun inside a Slurm allocation sets its own variables beside Slurm's and
// numbers its ranks by its own, so MPI comes before Slurm.
var launchers = []launcher{
	{"torchrun", "RANK", torchrun},
	{"openmpi", "OMPI_COMM_WORLD_RANK", openMPI},
	{"pmi", "PMI_RANK", pmi},
	{"pmi", "PMIX_RANK", pmix},
	{"slurm", "SLURM_STEP_ID", slurm}, // an sbatch script has SLURM_PROCID too, but is no step
	{"kubernetes", "JOB_COMPLETION_INDEX", kubernetes},
}

func torchrun(e *env) Place {
	p := Place{Job: e.getenv("TORCHELASTIC_RUN_ID")}
	p.Rank, p.Size = e.world("RANK", "WORLD_SIZE")
	p.LocalRank = e.optional("LOCAL_RANK", 0, p.Size-1)
	p.LocalSize = e.optional("LOCAL_WORLD_SIZE", 1, p.Size)
	if host := e.getenv("MASTER_ADDR"); host != "" {
		// MASTER_PORT itself is where torch's own store listens.
		port := e.number("MASTER_PORT", 1, 65534) + 1
		p.Addr = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return p
}

func openMPI(e *env) Place {
	p := Place{Job: e.getenv("PMIX_NAMESPACE")}
	if p.Job == "" {
		p.Job = e.getenv("OMPI_MCA_ess_base_jobid")
	}
	p.Rank, p.Size = e.world("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
	p.LocalRank = e.optional("OMPI_COMM_WORLD_LOCAL_RANK", 0, p.Size-1)
	p.LocalSize = e.optional("OMPI_COMM_WORLD_LOCAL_SIZE", 1, p.Size)
	return p
}

func pmi(e *env) Place  { return e.processManager("PMI_RANK", e.getenv("PMI_JOBID")) }
func pmix(e *env) Place { return e.processManager("PMIX_RANK", e.getenv("PMIX_NAMESPACE")) }

// processManager reads what MPICH, Intel MPI and PMIx launchers share.
func (e *env) processManager(rank, job string) Place {
	p := Place{Job: job}
	p.Rank, p.Size = e.world(rank, "PMI_SIZE")
	p.LocalRank = e.optional("MPI_LOCALRANKID", 0, p.Size-1)
	p.LocalSize = e.optional("MPI_LOCALNRANKS", 1, p.Size)
	return p
}

func slurm(e *env) Place {
	p := Place{Job: "slurm"}
	for _, v := range []string{"SLURM_JOB_ID", "SLURM_STEP_ID"} {
		p.Job += "." + e.getenv(v)
	}
	p.Rank, p.Size = e.world("SLURM_PROCID", "SLURM_NTASKS")
	p.LocalRank = e.optional("SLURM_LOCALID", 0, p.Size-1)
	p.LocalSize = unknownLocal
	list := e.getenv("SLURM_STEP_NODELIST")
	if list == "" {
		return p
	}
	host, alone, err := firstHost(list)
	if err != nil {
		e.fault("SLURM_STEP_NODELIST=%.80q: %w", list, err)
		return p
	}
	if alone {
		p.LocalSize = p.Size
		return p
	}
	p.Addr = net.JoinHostPort(host, strconv.Itoa(portOf(p.Job)))
	return p
}

func kubernetes(e *env) Place {
	p := Place{LocalRank: unknownLocal, LocalSize: unknownLocal}
	if e.getenv(envSize) == "" {
		e.fault("an Indexed Job does not tell its size: set %s to its completions", envSize)
		return p
	}
	p.Rank, p.Size = e.world("JOB_COMPLETION_INDEX", envSize)
	pod, service := e.getenv("HOSTNAME"), e.getenv(envService)
	if p.Size == 1 || e.getenv(envAddr) != "" {
		return p
	}
	job, isOurs := strings.CutSuffix(pod, "-"+strconv.Itoa(int(p.Rank)))
	if !isOurs || job == "" {
		e.fault("HOSTNAME=%q is not <job>-%d", pod, p.Rank)
		return p
	}
	if service == "" {
		e.fault("an Indexed Job is reached through a headless service: set %s to its name", envService)
		return p
	}
	p.Job = job
	p.Addr = net.JoinHostPort(job+"-0."+service, strconv.Itoa(kubernetesPort))
	return p
}
