package alltoall

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/bench/internal/peers"
)

// peer is a library that can be built into a contestant.
type peer struct {
	name  string
	build func(ctx context.Context, dir string) (*contestant, error)
}

// allPeers lists those there are. dir is where peerSources lie.
func allPeers() []peer {
	return []peer{
		{"mpi-tcp", func(ctx context.Context, dir string) (*contestant, error) {
			return buildMPI(ctx, dir, "tcp", oneCall, "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", loopback)
		}},
		{"mpi", func(ctx context.Context, dir string) (*contestant, error) {
			return buildMPI(ctx, dir, "shm", oneCall, peers.SharedMemory()...)
		}},
		{"mpi-posted", func(ctx context.Context, dir string) (*contestant, error) {
			return buildMPI(ctx, dir, "shm-posted", posted, peers.SharedMemory()...)
		}},
		{"gloo", buildGloo},
	}
}

func peerNames() []string {
	var names []string
	for _, p := range allPeers() {
		names = append(names, p.name)
	}
	return names
}

// variant is a way in which the MPI program exchanges.
type variant struct{ algorithm, flag string }

// oneCall leaves the exchange to MPI; posted asks of it what our transport over MPI does.
var (
	oneCall = variant{"MPI_Alltoall", "-UPOSTED"}
	posted  = variant{"MPI_Isend/Irecv", "-DPOSTED"}
)

// buildMPI builds the MPI program for Open MPI. ob1 and the btl that mca names pin the way of the
// bytes, which Open MPI would choose by itself otherwise, so that the transport in the table is the
// one that ran.
func buildMPI(ctx context.Context, dir, transport string, v variant, mca ...string) (*contestant, error) {
	out, err := peers.Tool(ctx, "mpirun", "--version")
	if err != nil {
		return nil, err
	}
	if !strings.Contains(out, "Open MPI") {
		return nil, fmt.Errorf("mpirun is not that of Open MPI, whose options this needs; %s", peers.Install)
	}
	program := filepath.Join(dir, "mpi-"+transport)
	if _, err := peers.Tool(ctx, "mpicc", "-std=gnu99", "-O2", v.flag, "-o", program, filepath.Join(dir, "mpi.c")); err != nil {
		return nil, err
	}
	command := func(dir string, ranks int, steps []step) ([]string, int) {
		args := slices.Concat(peers.Mpirun(ranks), mca, []string{program, dir}, stepArguments(steps))
		return args, 1
	}
	return &contestant{who: "openmpi", transport: transport, algorithm: v.algorithm, command: command}, nil
}

// glooName is what the outcome calls Gloo.
const glooName = "gloo"

func buildGloo(ctx context.Context, dir string) (*contestant, error) {
	program := filepath.Join(dir, "gloo")
	if _, err := peers.Tool(ctx, "g++", "-std=c++17", "-O2", "-o", program, filepath.Join(dir, "gloo.cc"), "-lgloo", "-lpthread"); err != nil {
		return nil, err
	}
	command := func(dir string, ranks int, steps []step) ([]string, int) {
		return append([]string{program, dir}, stepArguments(steps)...), ranks
	}
	return &contestant{who: glooName, transport: "tcp", algorithm: "gloo::alltoall", command: command}, nil
}

// loopback names the loopback interface by its address, since its name differs between systems.
const loopback = "127.0.0.0/8"
