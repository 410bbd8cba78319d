package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// peerSources are the programs that run other libraries under our protocol.
//
//go:embed peers/protocol.h peers/mpi.c peers/alltoallv.c peers/gloo.cc
var peerSources embed.FS

// install is what a Debian or Ubuntu system lacks when a peer cannot be built.
const install = "to compare with it: apt-get install openmpi-bin libopenmpi-dev libgloo-dev g++"

// loopback names the loopback interface by its address, since its name differs between systems.
const loopback = "127.0.0.0/8"

// peer is a library that can be built into a contestant.
type peer struct {
	name  string
	build func(ctx context.Context, dir string) (*contestant, error)
}

// peers lists those there are. dir is where peerSources lie.
func peers() []peer {
	return []peer{
		{"mpi-tcp", func(ctx context.Context, dir string) (*contestant, error) {
			return buildMPI(ctx, dir, "tcp", oneCall, "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", loopback)
		}},
		{"mpi", func(ctx context.Context, dir string) (*contestant, error) {
			return buildMPI(ctx, dir, "shm", oneCall, sharedMemory()...)
		}},
		{"mpi-posted", func(ctx context.Context, dir string) (*contestant, error) {
			return buildMPI(ctx, dir, "shm-posted", posted, sharedMemory()...)
		}},
		{"gloo", buildGloo},
	}
}

func peerNames() []string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

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

// variant is a way in which the MPI program exchanges.
type variant struct{ algorithm, flag string }

// oneCall leaves the exchange to MPI; posted asks of it what our transport over MPI does.
var (
	oneCall = variant{"MPI_Alltoall", "-UPOSTED"}
	posted  = variant{"MPI_Isend/Irecv", "-DPOSTED"}
)

// buildMPI builds the MPI program for Open MPI. ob1 and the btl that mca names pin the way of the bytes, which
// Open MPI would choose by itself otherwise, so that the transport in the table is the one that ran.
func buildMPI(ctx context.Context, dir, transport string, v variant, mca ...string) (*contestant, error) {
	out, err := tool(ctx, "mpirun", "--version")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(out, "Open MPI") {
		return nil, fmt.Errorf("mpirun is not that of Open MPI, whose options this needs; %s", install)
	}
	program := filepath.Join(dir, "mpi-"+transport)
	if _, err := tool(ctx, "mpicc", "-std=gnu99", "-O2", v.flag, "-o", program, filepath.Join(dir, "mpi.c")); err != nil {
		return nil, err
	}
	command := func(dir string, ranks int, steps []step) ([]string, int) {
		args := slices.Concat(mpirun(ranks), mca, []string{program, dir}, stepArguments(steps))
		return args, 1
	}
	return &contestant{who: "openmpi", transport: transport, algorithm: v.algorithm, command: command}, nil
}

// sharedMemory are the options that have Open MPI talk over shared memory alone.
func sharedMemory() []string { return []string{"--mca", "btl", "vader,self"} }

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

// glooName is what the outcome calls Gloo.
const glooName = "gloo"

func buildGloo(ctx context.Context, dir string) (*contestant, error) {
	program := filepath.Join(dir, "gloo")
	if _, err := tool(ctx, "g++", "-std=c++17", "-O2", "-o", program, filepath.Join(dir, "gloo.cc"), "-lgloo", "-lpthread"); err != nil {
		return nil, err
	}
	command := func(dir string, ranks int, steps []step) ([]string, int) {
		return append([]string{program, dir}, stepArguments(steps)...), ranks
	}
	return &contestant{who: glooName, transport: "tcp", algorithm: "gloo::alltoall", command: command}, nil
}

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
