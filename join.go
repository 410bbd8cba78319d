package switchyard

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/hybrid"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// JoinConfig says who this rank is. Its zero value asks the environment.
type JoinConfig struct {
	// Rank and Size are this rank's number and the number of ranks. With Size 0 they come from the
	// launcher's variables: torchrun's, else Open MPI's, PMI's, Slurm's, those of a Kubernetes
	// Indexed Job, else this rank is alone. World.Source says which it was. Launchers that disagree
	// are an error; see [rendezvous.Detect].
	Rank transport.Rank
	Size int
	// Addr is the host:port at which rank 0 waits for the others. Empty means the launcher's.
	Addr string
	// Job names the job, so that another one's ranks are not mistaken for this one's. Empty means
	// the launcher's name, which is another one for every launch.
	Job string
	// Host is the address, without a port, at which this rank listens for the others; empty means
	// the one by which Addr is reached.
	Host string
	// Settings are what all ranks must agree on, as name and value: a rank that differs fails the
	// job by name.
	Settings map[string]string
	// Security says how ranks know each other: by TLS, which encrypts too, or by a shared secret.
	// All ranks must agree.
	Security secure.Config
	// Insecure permits addresses other than loopback without any security.
	Insecure bool
	// NoSharedMemory has ranks of one machine speak over TCP instead.
	NoSharedMemory bool
	// Timeout bounds the meeting of the ranks; 0 means 60 s. It ends for all when the first rank's
	// time does: this, or its context's.
	Timeout time.Duration
	// OpTimeout bounds every later operation on the transport, from when it first has to wait; 0
	// means [transport.DefaultOpTimeout], 30 min, and negative ([transport.NoTimeout]) no bound,
	// which is for the ranks of a server that are idle between requests. It is not what finds
	// deaths: see DeadAfter.
	OpTimeout time.Duration
	// DeadAfter is the silence after which a rank is dead; 0 means 30 s. It is for a machine that
	// vanishes, or a process that is stopped: one that dies ends its connections, which the others
	// find at once. Heartbeat is the time between signs of life; 0 means 500 ms, or a quarter of
	// DeadAfter if that is less.
	DeadAfter, Heartbeat time.Duration
	// Log receives what happens to the transport; nil is silent.
	Log *slog.Logger
}

// Join meets the other ranks of the job and returns this rank's world. It ends at the latest when
// ctx does or Timeout passes, with an error that names the ranks that are missing or disagree.
//
// The environment variable SWITCHYARD_ALGORITHM, which all ranks must have alike, overrides
// [Config.Algorithm] of the layers built on this world.
func Join(ctx context.Context, cfg JoinConfig) (*World, error) {
	who, err := cfg.place(os.Getenv)
	if err != nil {
		return nil, err
	}
	algorithm, err := algorithmOf(os.Getenv)
	if err != nil {
		return nil, err
	}
	t, err := cfg.connect(ctx, who)
	if err != nil {
		return nil, err
	}
	w := NewWorld(t)
	w.source, w.algorithm = who.Source, algorithm
	return w, nil
}

// algorithmVariable names the exchange algorithm of all layers.
const algorithmVariable = "SWITCHYARD_ALGORITHM"

// algorithmOf returns the algorithm that the environment names, or nil.
func algorithmOf(getenv func(string) string) (*alltoall.Algorithm, error) {
	name := getenv(algorithmVariable)
	if name == "" {
		return nil, nil
	}
	a, err := alltoall.ParseAlgorithm(name)
	if err != nil {
		return nil, errtext.Errorf("switchyard: Join: %s: %w", algorithmVariable, err)
	}
	return &a, nil
}

// place is what cfg says of this rank, or the environment where it gives no Size; then its address
// and name of the job still come before the launcher's.
func (c JoinConfig) place(getenv func(string) string) (rendezvous.Process, error) {
	if c.Size == 0 && c.Rank != 0 {
		return rendezvous.Process{}, fmt.Errorf("switchyard: JoinConfig.Rank is %d without a Size", c.Rank)
	}
	if c.Size < 0 {
		return rendezvous.Process{}, fmt.Errorf("switchyard: JoinConfig.Size is %d, want a number of ranks, or 0 for the launcher's", c.Size)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"Timeout", c.Timeout}, {"DeadAfter", c.DeadAfter}, {"Heartbeat", c.Heartbeat}} {
		if d.value < 0 {
			return rendezvous.Process{}, fmt.Errorf("switchyard: JoinConfig.%s is %v, must not be negative", d.field, d.value)
		}
	}
	return rendezvous.Detect(rendezvous.Process{Rank: c.Rank, Size: c.Size, Addr: c.Addr, Job: c.Job}, getenv)
}

// connect opens the transport: nothing but memory for a rank that is alone.
func (c JoinConfig) connect(ctx context.Context, who rendezvous.Process) (transport.Transport, error) {
	if who.Size == 1 {
		return inproc.New(1)[0], nil
	}
	identity := who.Identity()
	identity.Settings = c.Settings
	t, err := hybrid.Join(ctx, hybrid.Config{
		Config: tcp.Config{
			Identity: identity,
			Limits: transport.Limits{
				JoinTimeout: c.Timeout, OpTimeout: c.OpTimeout, DeadAfter: c.DeadAfter, Heartbeat: c.Heartbeat,
			},
			Host: c.Host, LocalSize: max(who.LocalSize, 0), Agent: who.Agent, Restart: who.Restart,
			Security: c.Security, Insecure: c.Insecure, Log: c.Log,
		},
		NoSharedMemory: c.NoSharedMemory,
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}
