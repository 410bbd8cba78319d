// Package peers builds and starts the libraries that bench compares with.
package peers

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

// peerSources are the programs that run other libraries under our protocol.
//
//go:embed sources
var peerSources embed.FS

// Tool runs a tool that a peer needs and returns what it says.
func Tool(ctx context.Context, name string, args ...string) (string, error) {
	if _, err := exec.LookPath(name); err != nil {
		return "", fmt.Errorf("no %s here; %s", name, Install)
	}
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w; %s%s", name, err, Install, harness.Quoted(string(out)))
	}
	return string(out), nil
}

// Mpirun returns the start of its command line. Ranks are not bound to cores, as ours are not, and
// give up the core while they wait where there are more of them than cores, or nobody would get
// anywhere.
func Mpirun(ranks int) []string {
	args := []string{"mpirun", "--oversubscribe", "--bind-to", "none", "-n", strconv.Itoa(ranks), "--mca", "pml", "ob1"}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-run-as-root")
	}
	if ranks > runtime.NumCPU() {
		args = append(args, "--mca", "mpi_yield_when_idle", "1")
	}
	return args
}

// SharedMemory are the options that have Open MPI talk over shared memory alone.
func SharedMemory() []string { return []string{"--mca", "btl", "vader,self"} }

// WriteSources puts the peers' sources into dir.
func WriteSources(dir string) error {
	entries, err := peerSources.ReadDir("sources")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := peerSources.ReadFile("sources/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Install is what a Debian or Ubuntu system lacks when a peer cannot be built.
const Install = "to compare with it: apt-get install openmpi-bin libopenmpi-dev libgloo-dev g++"

// HasTorch returns why an interpreter has no torch, or nil.
func HasTorch(ctx context.Context, python string) error {
	_, err := Tool(ctx, python, "-c", "import torch")
	return err
}

// Pythons are the interpreters that may have torch: the user's, and that of the distribution, to
// which its packages go.
func Pythons() []string { return []string{"python3", "/usr/bin/python3"} }

// Torch names the peer of route.
const Torch = "torch"
