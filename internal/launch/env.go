package launch

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"net"
	"os"
	"strconv"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

const (
	maxPort = 65535
	// Ports are chosen below the ephemeral ranges of Linux, macOS and Windows, so that no outgoing
	// connection takes one between the choice here and the rank that listens on it.
	firstPort, lastPort = 10000, 32000
	portTries           = 200
)

// environment is base, which is not changed, with the variables that torchrun would set for rank in
// one try of a job. Two variables of Switchyard say that the rendezvous uses the port after
// MASTER_PORT, and that variables of another launcher in base do not count.
func (t try) environment(base []string, rank, ranks int) []string {
	return append(base[:len(base):len(base)],
		"RANK="+strconv.Itoa(rank),
		"WORLD_SIZE="+strconv.Itoa(ranks),
		"LOCAL_RANK="+strconv.Itoa(rank),
		"LOCAL_WORLD_SIZE="+strconv.Itoa(ranks),
		"GROUP_RANK=0",
		"MASTER_ADDR=127.0.0.1",
		"MASTER_PORT="+strconv.Itoa(t.port),
		"TORCHELASTIC_RUN_ID="+t.id,
		"TORCHELASTIC_RESTART_COUNT="+strconv.Itoa(t.restart),
		"TORCHELASTIC_MAX_RESTARTS="+strconv.Itoa(t.most),
		"SWITCHYARD_ADDR=127.0.0.1:"+strconv.Itoa(t.port+1),
		"SWITCHYARD_LAUNCHER=torchrun",
	)
}

// IsRank reports whether this process was started as a rank of a job, by this package or by
// torchrun.
func IsRank() bool {
	return os.Getenv("RANK") != "" && os.Getenv("WORLD_SIZE") != ""
}

// freePortPair returns a loopback port that is free together with the port after it: one for
// MASTER_PORT, where a PyTorch program may have its store, and one for the rendezvous.
func freePortPair() (int, error) {
	for range portTries {
		n, err := rand.Int(rand.Reader, big.NewInt(lastPort-firstPort))
		if err != nil {
			return 0, errtext.Errorf("launch: choosing a port: %w", err)
		}
		if port := firstPort + int(n.Int64()); free(port) && free(port+1) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("launch: no two neighbouring ports free on 127.0.0.1 in %d tries between %d and %d", portTries, firstPort, lastPort)
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
