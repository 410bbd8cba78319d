package switchyard

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/opening"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
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
	// Transport names what ranks speak over, all the same: "auto" (or nothing) is the fastest way to
	// each rank, shared memory or TCP; "tcp" and "shm" are these alone, and others are those of
	// Transports. A rank that is alone needs none of them.
	Transport string
	// Transports are more to choose from by name, such as grpc.Opener{}. Programs link only what
	// they list here.
	Transports []Opener
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

// Opener opens a kind of transport by its name: one of transport/grpc, transport/mpi,
// transport/striped, or a program's own.
type Opener = rendezvous.Opener

// Join meets the other ranks of the job and returns this rank's world. It ends at the latest when
// ctx does or Timeout passes, with an error that names the ranks that are missing or disagree.
//
// Two environment variables, which all ranks must have alike, override the program:
// SWITCHYARD_TRANSPORT overrides Transport, and SWITCHYARD_ALGORITHM [Config.Algorithm] of the
// layers built on this world.
func Join(ctx context.Context, cfg JoinConfig) (*World, error) {
	opener, err := cfg.opener(os.Getenv)
	if err != nil {
		return nil, err
	}
	who, err := cfg.placeFor(opener, os.Getenv)
	if err != nil {
		return nil, err
	}
	algorithm, err := algorithmOf(os.Getenv)
	if err != nil {
		return nil, err
	}
	t, err := opening.Open(ctx, opener, cfg.opening(who))
	if err != nil {
		return nil, err
	}
	w := NewWorld(t)
	w.source, w.algorithm = who.Source, algorithm
	return w, nil
}

// The variables that override a program's exchange algorithm and transport.
const (
	algorithmVariable = "SWITCHYARD_ALGORITHM"
	transportVariable = "SWITCHYARD_TRANSPORT"
)

// opener is that of the transport that the environment names, or cfg.
func (c JoinConfig) opener(getenv func(string) string) (Opener, error) {
	r := opening.Request{Name: c.Transport, From: "JoinConfig.Transport", Program: c.Transports, NoSharedMemory: c.NoSharedMemory}
	if name := getenv(transportVariable); name != "" {
		r.Name, r.From = name, transportVariable
	}
	o, err := opening.Choose(r)
	if err != nil {
		return nil, errtext.Errorf("switchyard: Join: %w", err)
	}
	return o, nil
}

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

// placeFor is place, but for a transport that knows its ranks by itself.
func (c JoinConfig) placeFor(o Opener, getenv func(string) string) (rendezvous.Process, error) {
	if _, knows := o.(rendezvous.SelfPlaced); knows {
		return rendezvous.Process{Size: c.Size, Source: o.Name()}, nil
	}
	return c.place(getenv)
}

// opening is what the transport has to know.
func (c JoinConfig) opening(who rendezvous.Process) rendezvous.Opening {
	identity := who.Identity()
	identity.Settings = c.Settings
	return rendezvous.Opening{
		Identity: identity,
		Limits: transport.Limits{
			JoinTimeout: c.Timeout, OpTimeout: c.OpTimeout, DeadAfter: c.DeadAfter, Heartbeat: c.Heartbeat,
		},
		Host: c.Host, LocalSize: max(who.LocalSize, 0), Agent: who.Agent, Restart: who.Restart,
		Security: c.Security, Insecure: c.Insecure, Log: c.Log,
	}
}
