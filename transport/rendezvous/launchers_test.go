package rendezvous

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

type vars map[string]string

func (v vars) and(more vars) vars {
	v = maps.Clone(v)
	maps.Copy(v, more)
	return v
}

// These are the variables that the launchers set in the environment of one rank, without those that
// are not read.
var (
	// torchrun --nnodes 2 --nproc-per-node 2 --rdzv-backend c10d --rdzv-id demo, agent 1
	torchrunAgent = vars{
		"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2",
		"MASTER_ADDR": "alpha", "MASTER_PORT": "43211", "TORCHELASTIC_RUN_ID": "demo", "TORCHELASTIC_RESTART_COUNT": "0",
		"TORCHELASTIC_ERROR_FILE": "/tmp/torchelastic_k3/demo_x7/attempt_0/1/error.json",
	}
	openMPI4 = vars{
		"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
		"OMPI_MCA_ess_base_jobid": "653852673", "OMPI_MCA_orte_precondition_transports": "10fd16bae1cf7fea-670e99dadcf82159",
		"PMIX_RANK": "2", "PMIX_NAMESPACE": "653852673",
	}
	openMPI5 = vars{
		"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
		"PMIX_RANK": "2", "PMIX_NAMESPACE": "prterun-alpha-19001@1",
	}
	mpich = vars{"PMI_RANK": "2", "PMI_SIZE": "4", "PMI_FD": "8", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "4"}
	intel = mpich.and(vars{"I_MPI_HYDRA_UUID": "524a0000-bca8-f1f2-7361-060076560d54"})
	step  = vars{ // srun -N2 -n4, rank 2
		"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
		"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
	}
)

// below is /proc of a process with the given ancestors, the nearest first, each as "name" or "name:
// arguments".
func below(above ...string) fs.FS {
	proc := fstest.MapFS{
		"self/ns/pid":                      {Data: []byte("pid:[4026531836]"), Mode: fs.ModeSymlink},
		"sys/net/ipv4/ip_local_port_range": {Data: []byte("32768\t60999\n")},
	}
	const own = 500
	stat := func(folder string, pid, parent, started int, name string) {
		line := fmt.Sprintf("%d (%s) S %d %s %d 0 0\n", pid, name, parent, strings.Repeat("1 ", 17), started)
		proc[folder+"/stat"] = &fstest.MapFile{Data: []byte(line)}
	}
	stat("self", own, own-1, 9000, "trainer")
	for i, a := range above {
		pid := own - 1 - i
		name, _, _ := strings.Cut(a, ": ")
		parent := pid - 1
		if i == len(above)-1 {
			parent = 0
		}
		stat(fmt.Sprint(pid), pid, parent, 8000-i, name)
		proc[fmt.Sprintf("%d/cmdline", pid)] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(a, " ", "\x00"))}
	}
	return proc
}

func noAddrs() ([]netip.Addr, error) { return nil, nil }

func detectIn(v vars, proc fs.FS) (Process, error) {
	return detect(Process{}, &env{getenv: from(v), proc: proc, addrs: noAddrs})
}

func mustDetect(t *testing.T, v vars, proc fs.FS) Process {
	t.Helper()
	p, err := detectIn(v, proc)
	require.NoError(t, err)
	return p
}

// TestEveryLaunchHasItsOwnName: two launches with equal variables do not meet.
func TestEveryLaunchHasItsOwnName(t *testing.T) {
	one, other := below("hydra_pmi_proxy"), below("numactl", "hydra_pmi_proxy")
	a, b := mustDetect(t, mpich, one), mustDetect(t, mpich, other)
	require.NotEqual(t, a.Job, b.Job)
	require.NotEqual(t, a.Addr, b.Addr)
	require.Equal(t, a, mustDetect(t, mpich, one))

	_, err := detectIn(mpich, below("sh"))
	require.ErrorContains(t, err, "set SWITCHYARD_JOB")
	require.Equal(t, "mine", mustDetect(t, mpich.and(vars{envJob: "mine"}), below("sh")).Job)

	apart := mpich.and(vars{"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1", envAddr: "alpha:7000"})
	a = mustDetect(t, apart, below("hydra_pmi_proxy: --control-port alpha:34291 --proxy-id 0"))
	require.Equal(t, a.Job, mustDetect(t, apart, below("sh", "hydra_pmi_proxy: --control-port alpha:34291 --proxy-id 1")).Job)
	require.NotEqual(t, a.Job, mustDetect(t, apart, below("hydra_pmi_proxy: --control-port alpha:34292 --proxy-id 0")).Job)
	_, err = detectIn(apart, below("hydra_pmi_proxy: --control-port"))
	require.ErrorContains(t, err, "set SWITCHYARD_JOB")

	inherited := mpich.and(vars{"PMI_JOBID": "77.0"}) // two mpiexec in one step of srun --mpi=pmi2
	require.NotEqual(t, mustDetect(t, inherited, one).Job, mustDetect(t, inherited, other).Job)
	_, err = detectIn(inherited, below("sh"))
	require.ErrorContains(t, err, "set SWITCHYARD_JOB")

	require.Contains(t, mustDetect(t, intel, below("sh")).Job, "524a0000")
	require.Contains(t, mustDetect(t, openMPI4, below("sh")).Job, "10fd16ba")
	// Containers that share the network may have equal process numbers.
	require.NotEqual(t, mustDetect(t, openMPI5, below("prterun")).Job, mustDetect(t, openMPI5, below("sh", "prterun")).Job)
}

// TestLaunchersThatDisagree: neither variables that remain in a shell nor those of the launcher are
// preferred.
func TestLaunchersThatDisagree(t *testing.T) {
	shell := vars{"RANK": "0", "WORLD_SIZE": "1"}
	for name, c := range map[string]struct {
		v    vars
		proc fs.FS
		want []string
	}{
		"a shell and open mpi 4":    {openMPI4.and(shell), below("mpirun"), []string{`RANK="0", WORLD_SIZE="1"`, `openmpi says OMPI_COMM_WORLD_RANK="2", OMPI_COMM_WORLD_SIZE="4"`}},
		"a shell and open mpi 5":    {openMPI5.and(shell), below("prterun"), []string{"torchrun", "openmpi"}},
		"a shell and mpich":         {mpich.and(shell), below("hydra_pmi_proxy"), []string{"torchrun", `PMI_RANK="2", PMI_SIZE="4"`}},
		"a shell and slurm":         {step.and(shell), below("slurmstepd: [77.0]"), []string{`SLURM_PROCID="2", SLURM_NTASKS="4"`}},
		"a shell and pmi-port":      {shell.and(vars{"PMI_PORT": "alpha:36113", "PMI_ID": "0"}), below("hydra_pmi_proxy"), []string{`PMI_ID="0"`}},
		"a shell and kubernetes":    {shell.and(vars{"JOB_COMPLETION_INDEX": "1", envSize: "2"}), nil, []string{"kubernetes", "torchrun"}},
		"the same size":             {openMPI4.and(vars{"RANK": "0", "WORLD_SIZE": "4"}), nil, []string{"torchrun", "openmpi"}},
		"a whole torchrun of one":   {mpich.and(torchrunAgent).and(shell).and(vars{"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "GROUP_WORLD_SIZE": "1"}), nil, []string{"torchrun", "pmi"}},
		"one mpi below another":     {mpich.and(openMPI5).and(vars{"PMI_RANK": "1"}), nil, []string{"openmpi", "pmi"}},
		"srun below mpirun":         {step.and(openMPI4).and(vars{"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}), below("slurmstepd: [77.0]", "mpirun"), []string{"openmpi", "slurm"}},
		"mpirun, several a host":    {step.and(openMPI4).and(vars{"OMPI_COMM_WORLD_RANK": "1"}), nil, []string{"openmpi", "slurm"}},
		"a rank without its size":   {openMPI4.and(vars{"RANK": "2"}), nil, []string{`WORLD_SIZE=""`, "openmpi"}},
		"three, of which two agree": {step.and(mpich).and(shell), nil, []string{"torchrun", "pmi"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := detectIn(c.v, c.proc)
			require.Error(t, err)
			for _, w := range append(c.want, envLauncher) {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

// TestAnyTwoLaunchersThatDisagree: each pair that disagrees without a known reason is an error, and
// each pair that agrees is none.
func TestAnyTwoLaunchersThatDisagree(t *testing.T) {
	seen := map[string]vars{
		"PMI_RANK": {"MPI_LOCALNRANKS": "1"}, "PMIX_RANK": {}, "PMI_ID": {"PMI_PORT": "alpha:1"},
		"SLURM_PROCID": {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "1"}, "RANK": {}, "OMPI_COMM_WORLD_RANK": {},
		"JOB_COMPLETION_INDEX": {},
	}
	says := func(l launcher, rank, size string) vars {
		return seen[l.rank].and(vars{l.rank: rank, l.size: size})
	}
	pairs := 0
	for i, a := range launchers {
		for _, b := range launchers[i+1:] {
			both := says(a, "0", "1").and(says(b, "2", "4"))
			e := &env{getenv: from(both)}
			if !a.seen(e) || !b.seen(e) || a.size == b.size {
				continue // one of the two hides the other, or there is one size for both
			}
			pairs++
			_, err := detectIn(both, nil)
			require.ErrorContains(t, err, "disagree", "%s and %s", a.rank, b.rank)
			require.ErrorContains(t, err, a.rank+`="0"`)
			require.ErrorContains(t, err, b.rank+`="2"`)
			l, err := (&env{getenv: from(says(a, "2", "4").and(says(b, "2", "4")))}).choose()
			require.NoError(t, err)
			require.Equal(t, a.name, l.name)
		}
	}
	require.Greater(t, pairs, 8)
}

// TestLaunchersThatStartEachOther: common nestings are no disagreement.
func TestLaunchersThatStartEachOther(t *testing.T) {
	task := vars{ // srun -N2 -n2, one task a host
		"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "node[1-2]",
		"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2",
	}
	pair := vars{"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
	for name, c := range map[string]struct {
		v    vars
		proc fs.FS
		want string
	}{
		"an agent in each task":           {torchrunAgent.and(task), below("torchrun", "slurmstepd: [77.0]"), "torchrun"},
		"an agent under each mpirun rank": {torchrunAgent.and(pair), below("pt_elastic", "mpirun"), "torchrun"},
		"an agent under each mpich rank":  {torchrunAgent.and(mpich).and(vars{"PMI_RANK": "0", "PMI_SIZE": "2"}), nil, "torchrun"},
		"an agent in each pod":            {torchrunAgent.and(vars{"JOB_COMPLETION_INDEX": "0"}), nil, "torchrun"},
		"an agent in each of two pods":    {torchrunAgent.and(vars{"JOB_COMPLETION_INDEX": "0", envSize: "2"}), nil, "torchrun"},
		"ranks host by host, as others number them": {
			vars{"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "alpha", "MASTER_PORT": "29500"}.
				and(task).and(vars{"SLURM_PROCID": "1"}), nil, "torchrun"},
		"torch's variables from srun":      {step.and(vars{"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}), nil, "torchrun"},
		"mpirun's daemon in each task":     {openMPI4.and(task), nil, "openmpi"},
		"mpirun in an allocation":          {openMPI4.and(step).and(vars{"SLURM_STEP_ID": "4294967290"}), nil, "openmpi"},
		"a daemon that is seen":            {openMPI4.and(step).and(vars{"SLURM_PROCID": "1"}), below("orted", "slurmstepd: [77.0]"), "openmpi"},
		"mpiexec's daemon in each task":    {mpich.and(task), below("hydra_pmi_proxy", "slurmstepd: [77.0]"), "pmi"},
		"open mpi that speaks pmix":        {openMPI5, nil, "openmpi"},
		"open mpi in srun --mpi=pmi2 -n 1": {openMPI5.and(vars{"PMI_RANK": "0", "PMI_SIZE": "1", "PMI_JOBID": "77.0", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}), below("prterun", "slurmstepd: [77.0]"), "openmpi"},
		"as the user says":                 {openMPI4.and(vars{"RANK": "0", "WORLD_SIZE": "1", envLauncher: "openmpi"}), nil, "openmpi"},
		"alone, as the user says":          {openMPI4.and(vars{envLauncher: "alone"}), nil, "alone"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, mustDetect(t, c.v, c.proc).Source)
		})
	}
	_, err := detectIn(vars{envLauncher: "slurm"}, nil)
	require.ErrorContains(t, err, "has not set its variables")
	_, err = detectIn(openMPI4.and(vars{envLauncher: "mpirun"}), nil)
	require.ErrorContains(t, err, "is none of alone, torchrun, openmpi, pmi, slurm, kubernetes")
}

// TestHalfVisibleLaunchers: a launcher whose variables are incomplete is an error, not a job of one
// rank.
func TestHalfVisibleLaunchers(t *testing.T) {
	_, err := detectIn(vars{"PMI_PORT": "alpha:36113", "PMI_ID": "1"}, nil)
	require.ErrorContains(t, err, "-pmi-port")
	_, err = detectIn(vars{"PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-alpha-7@1"}, nil)
	require.ErrorContains(t, err, "set SWITCHYARD_WORLD_SIZE")
	_, err = detectIn(openMPI4.and(vars{envSize: "8"}), nil)
	require.ErrorContains(t, err, `SWITCHYARD_WORLD_SIZE="8", but this launcher started 4`)
	p := mustDetect(t, vars{"PMIX_RANK": "1", "PMIX_NAMESPACE": "prterun-alpha-7@1", envSize: "2", envAddr: "alpha:7"}, nil)
	require.Equal(t, "prterun-alpha-7@1", p.Job)
}

func TestSlurmSteps(t *testing.T) {
	het := step.and(vars{
		"SLURM_HET_SIZE": "2", "SLURM_STEP_NODELIST": "node[1,3]", "SLURM_JOB_NODELIST_PACK_GROUP_0": "node3", "SLURM_JOB_NODELIST_PACK_GROUP_1": "node1",
	})
	three := het.and(vars{
		"SLURM_STEP_NODELIST": "node[1-3]", "SLURM_STEP_NUM_NODES": "3",
		"SLURM_JOB_NODELIST_HET_GROUP_0": "node3", "SLURM_JOB_NODELIST_HET_GROUP_1": "node[1-2]",
	})
	for name, c := range map[string]struct {
		v    vars
		proc fs.FS
		want string
	}{
		"pmi2":                            {step.and(vars{"PMI_RANK": "2", "PMI_SIZE": "4", "PMI_FD": "11", "PMI_JOBID": "77.0"}), nil, "node1"},
		"pmix":                            {step.and(vars{"PMIX_RANK": "2", "PMIX_NAMESPACE": "slurm.pmix.77.0"}), nil, "node1"},
		"heterogeneous, one command":      {het, below("slurmstepd: [78.0]"), "node3"},
		"heterogeneous, in an allocation": {three, nil, "node3"},
		"heterogeneous, the second group": {three.and(vars{"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_STEP_NUM_NODES": "2"}), nil, "node1"},
		"cyclic":                          {step.and(vars{"SLURM_DISTRIBUTION": "cyclic"}), nil, "node1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustDetect(t, c.v, c.proc)
			require.Equal(t, "slurm", p.Source)
			require.Equal(t, "slurm.77.0", p.Job)
			host, _, err := net.SplitHostPort(p.Addr)
			require.NoError(t, err)
			require.Equal(t, c.want, host)
		})
	}
	for name, v := range map[string]vars{
		"arbitrary":                     step.and(vars{"SLURM_DISTRIBUTION": "arbitrary"}),
		"a part of the groups":          three.and(vars{"SLURM_STEP_NODELIST": "node[2-3]", "SLURM_STEP_NUM_NODES": "2"}),
		"a group that is not described": three.and(vars{"SLURM_HET_SIZE": "3"}),
	} {
		_, err := detectIn(v, nil)
		require.ErrorContains(t, err, "set SWITCHYARD_ADDR", name)
		require.Equal(t, "node2:7", mustDetect(t, v.and(vars{envAddr: "node2:7"}), nil).Addr, name)
	}
	again := mustDetect(t, step.and(vars{"SLURM_RESTART_COUNT": "1"}), nil)
	require.NotEqual(t, mustDetect(t, step, nil).Job, again.Job)
}

// TestSlurmProcessesThatAreNoTasks: a plain program within an allocation waits for no other.
func TestSlurmProcessesThatAreNoTasks(t *testing.T) {
	batch := step.and(vars{"SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "node1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"})
	same := step.and(vars{"SLURM_PROCID": "0"}) // submitted from within a step of as many tasks
	for name, c := range map[string]struct {
		v    vars
		proc fs.FS
	}{
		"the interactive step":                {batch.and(vars{"SLURM_STEP_ID": "4294967290"}), nil},
		"a script submitted from a step":      {batch, nil},
		"a script from a step of equal size":  {same, below("slurm_script", "slurmstepd: [77.batch]")},
		"a script from a pmi2 step":           {batch.and(vars{"PMI_RANK": "0", "PMI_SIZE": "1", "PMI_JOBID": "76.0"}), nil},
		"an allocation made from within step": {same.and(vars{"SLURM_JOB_ID": "78"}), below("salloc", "slurmstepd: [77.0]")},
		"a shell of salloc without a step":    {vars{"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4"}, nil},
	} {
		p, err := detectIn(c.v, c.proc)
		require.NoError(t, err, name)
		require.Equal(t, Process{Size: 1, LocalSize: 1, Source: "alone"}, p, name)
	}
	_, err := detectIn(step.and(vars{"SLURM_STEP_ID": "x"}), nil)
	require.ErrorContains(t, err, `SLURM_STEP_ID="x"`)
}

// TestPortsLieOutsideTheEphemeralRange: no connection of the machine holds the port of a
// rendezvous by chance.
func TestPortsLieOutsideTheEphemeralRange(t *testing.T) {
	portIn := func(v vars, low, high int) int {
		proc := below("hydra_pmi_proxy").(fstest.MapFS)
		proc["sys/net/ipv4/ip_local_port_range"] = &fstest.MapFile{Data: fmt.Appendf(nil, "%d\t%d\n", low, high)}
		addr, err := net.ResolveTCPAddr("tcp", strings.Replace(mustDetect(t, v, proc).Addr, "alpha", "127.0.0.1", 1))
		require.NoError(t, err)
		return addr.Port
	}
	local := torchrunAgent.and(vars{"RANK": "1", "WORLD_SIZE": "2"})
	for _, v := range []vars{local, mpich, openMPI4} {
		for _, r := range [][2]int{{32768, 60999}, {10000, 60999}, {20000, 32000}, {1024, 31000}, {15000, 65535}} {
			port := portIn(v, r[0], r[1])
			require.False(t, r[0] <= port && port <= r[1], "%d in %v", port, r)
			require.Equal(t, port, portIn(v, r[0], r[1]))
		}
		require.NotZero(t, portIn(v, 1024, 65535))
	}
	for port := range 2000 {
		// other hosts are not known
		p := portIn(torchrunAgent.and(vars{"MASTER_PORT": fmt.Sprint(29500 + port)}), 10000, 65000)
		require.True(t, firstPort <= p && p < 32768, p)
	}
}

// TestRestartsOfTorchrun: a job that one agent starts again has another name; with several agents
// the restart count says which process is the later one.
func TestRestartsOfTorchrun(t *testing.T) {
	attempt := func(v vars, n int, agent string) vars {
		file := fmt.Sprintf("/tmp/torchelastic_%s/demo_x7/attempt_%d/1/error.json", agent, n)
		return v.and(vars{"TORCHELASTIC_RESTART_COUNT": fmt.Sprint(n), "TORCHELASTIC_ERROR_FILE": file})
	}
	local := torchrunAgent.and(vars{"RANK": "1", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"})
	old, again := mustDetect(t, attempt(local, 0, "a"), nil), mustDetect(t, attempt(local, 1, "a"), nil)
	require.NotEqual(t, old.Job, again.Job)
	require.NotEqual(t, old.Addr, again.Addr)
	require.NotEqual(t, old.Job, mustDetect(t, attempt(local, 0, "b"), nil).Job)
	require.Equal(t, old.Job, mustDetect(t, attempt(local, 0, "a").and(vars{"RANK": "0", "LOCAL_RANK": "0"}), nil).Job)

	// Agents count their own restarts, so that ranks with different counts belong to one job.
	a, b := mustDetect(t, attempt(torchrunAgent, 0, "a"), below("sh")), mustDetect(t, attempt(torchrunAgent, 3, "b"), below("sh"))
	require.Equal(t, a.Job, b.Job)
	require.Equal(t, a.Addr, b.Addr)
	require.NotEqual(t, a.Agent, b.Agent)
	require.EqualValues(t, 3, b.Restart)
	require.LessOrEqual(t, len(mustDetect(t, attempt(torchrunAgent, 0, strings.Repeat("x", 200)), nil).Agent), maxJobBytes)
	_, err := detectIn(torchrunAgent.and(vars{"TORCHELASTIC_RESTART_COUNT": "-1"}), nil)
	require.ErrorContains(t, err, "TORCHELASTIC_RESTART_COUNT=-1")
}

func TestAddressesOfAllKinds(t *testing.T) {
	loopback4, loopback6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	local := torchrunAgent.and(vars{"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "alpha.example"})
	hostOf := func(v vars, addrs ...netip.Addr) string {
		p, err := detect(Process{}, &env{getenv: from(v), addrs: func() ([]netip.Addr, error) { return addrs, nil }})
		require.NoError(t, err)
		host, _, err := net.SplitHostPort(p.Addr)
		require.NoError(t, err)
		return host
	}
	// All ranks are on one host, whose name need not be a loopback address.
	require.Equal(t, "127.0.0.1", hostOf(local, loopback6, loopback4))
	require.Equal(t, "::1", hostOf(local, loopback6))
	require.Equal(t, "127.0.0.1", hostOf(local))
	for given, want := range map[string]string{
		"[::1]": "::1", "::1": "::1", "fe80::1%eth0": "fe80::1%eth0", "[fe80::1%eth0]": "fe80::1%eth0", "alpha.example.": "alpha.example.",
	} {
		require.Equal(t, want, hostOf(torchrunAgent.and(vars{"MASTER_ADDR": given}), loopback4))
	}
	pod := vars{"JOB_COMPLETION_INDEX": "2", envSize: "4", "HOSTNAME": "train-2", envService: "mesh"}
	require.Equal(t, "train-0.mesh", hostOf(pod))
	require.Equal(t, "train-0.mesh.prod.svc.cluster.local", hostOf(pod.and(vars{"HOSTNAME": "train-2.mesh.prod.svc.cluster.local", envService: ""})))
	require.Equal(t, "train-0.mesh", hostOf(pod.and(vars{"HOSTNAME": "train-2.mesh.prod.svc.cluster.local."})))
	_, err := detectIn(pod.and(vars{"HOSTNAME": "elsewhere"}), nil)
	require.ErrorContains(t, err, "set SWITCHYARD_ADDR")
	_, err = detectIn(mpich.and(vars{envAddr: "::1:29500", envJob: "j"}), nil)
	require.ErrorContains(t, err, "brackets")
}

func TestWhatTheCallerSaysComesFirst(t *testing.T) {
	e := &env{getenv: from(mpich.and(vars{envAddr: "bad", "MPI_LOCALNRANKS": "3"})), addrs: noAddrs}
	p, err := detect(Process{Addr: "alpha:7", Job: "mine"}, e)
	require.NoError(t, err)
	require.Equal(t, "alpha:7", p.Addr)
	require.Equal(t, "mine", p.Job)
}

func TestCountHosts(t *testing.T) {
	for list, want := range map[string]int{"": 0, "a": 1, "a,b": 2, "n[1-3]": 3, "r[1-2]n[08,10]": 4, "gpu[03-05,9],login1": 5} {
		n, err := countHosts(list)
		require.NoError(t, err, list)
		require.Equal(t, want, n, list)
	}
	for _, list := range []string{"a[", "a[3-1]", "a[x]", "a[0-99999999]", "a[0-9999]b[0-9999]", "a[1-]"} {
		_, err := countHosts(list)
		require.Error(t, err, list)
	}
}

// TestAncestorsOfBrokenProc: whatever /proc holds, reading it ends.
func TestAncestorsOfBrokenProc(t *testing.T) {
	for _, line := range []string{"", "1", "1 (x", "1 )x(", "1 (x) S", "x (y) S 1 " + strings.Repeat("1 ", 30), "7 (loop) S 7 " + strings.Repeat("1 ", 30)} {
		proc := fstest.MapFS{"self/stat": {Data: []byte(line)}, "7/stat": {Data: []byte(line)}}
		e := &env{proc: proc}
		require.LessOrEqual(t, len(e.ancestors()), maxAncestors, line)
	}
}

func FuzzCountHosts(f *testing.F) {
	f.Add("gpu[03-05,9],login1")
	f.Add("r[1-2]n[08,10]")
	f.Fuzz(func(t *testing.T, list string) {
		if n, err := countHosts(list); err == nil && list != "" {
			require.Positive(t, n)
		}
	})
}

func FuzzAncestors(f *testing.F) {
	f.Add("7 (a b) S 6 " + strings.Repeat("1 ", 30))
	f.Fuzz(func(t *testing.T, line string) {
		e := &env{proc: fstest.MapFS{"self/stat": {Data: []byte(line)}, "7/stat": {Data: []byte(line)}, "7/cmdline": {Data: []byte(line)}}}
		require.LessOrEqual(t, len(e.ancestors()), maxAncestors)
	})
}
