package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// peerSources are the programs that run other libraries under our protocol.
//
//go:embed peers/protocol.h peers/mpi.c peers/alltoallv.c peers/gloo.cc
var peerSources embed.FS

// tool runs a tool that a peer needs and returns what it says.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	if _, err := exec.LookPath(name); err != nil {
		return "", fmt.Errorf("no %s here; %s", name, install)
	}
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w; %s%s", name, err, install, quoted(string(out)))
	}
	return string(out), nil
}

// mpirun returns the start of its command line. Ranks are not bound to cores, as ours are not, and give up the
// core while they wait where there are more of them than cores, or nobody would get anywhere.
func mpirun(ranks int) []string {
	args := []string{"mpirun", "--oversubscribe", "--bind-to", "none", "-n", strconv.Itoa(ranks), "--mca", "pml", "ob1"}
	if os.Geteuid() == 0 {
		args = append(args, "--allow-run-as-root")
	}
	if ranks > runtime.NumCPU() {
		args = append(args, "--mca", "mpi_yield_when_idle", "1")
	}
	return args
}

// sharedMemory are the options that have Open MPI talk over shared memory alone.
func sharedMemory() []string { return []string{"--mca", "btl", "vader,self"} }

// writeSources puts the peers' sources into dir.
func writeSources(dir string) error {
	entries, err := peerSources.ReadDir("peers")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := peerSources.ReadFile("peers/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// install is what a Debian or Ubuntu system lacks when a peer cannot be built.
const install = "to compare with it: apt-get install openmpi-bin libopenmpi-dev libgloo-dev g++"

// loopback names the loopback interface by its address, since its name differs between systems.
const loopback = "127.0.0.0/8"

// hasTorch returns why an interpreter has no torch, or nil.
func hasTorch(ctx context.Context, python string) error {
	_, err := tool(ctx, python, "-c", "import torch")
	return err
}

// pythons are the interpreters that may have torch: the user's, and that of the distribution, to which its packages go.
func pythons() []string { return []string{"python3", "/usr/bin/python3"} }

// torchName names the peer of route.
const torchName = "torch"
