package meshjoin

import (
	"log/slog"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Config has the fields of tcp.Config, which documents, checks and completes them; one is converted
// to the other, so both list the same fields in the same order.
type Config struct {
	rendezvous.Identity
	transport.Limits

	Host      string
	LocalSize int
	Agent     string
	Restart   uint32
	Security  secure.Config
	Insecure  bool

	Net rendezvous.Net

	NoPayloadSums bool

	Log *slog.Logger
}

// rendezvous is how the ranks meet, but for the settings that they must share and what this rank
// publishes.
func (c *Config) rendezvous() rendezvous.Config {
	return rendezvous.Config{
		Rank: c.Rank, Size: c.Size, Addr: c.Addr, Job: c.Job, Host: c.Host, LocalSize: c.LocalSize,
		Agent: c.Agent, Restart: c.Restart, Timeout: c.JoinTimeout,
		Security: c.Security, Insecure: c.Insecure, Net: c.Net, Log: c.Log,
	}
}

// mesh is how the engine works once the ranks have met.
func (c *Config) mesh() mesh.Config {
	return mesh.Config{
		Capabilities: transport.Capabilities{
			Name: "tcp", SurvivesPeerLoss: true, Encrypted: c.Security.Encrypted(), Network: true,
		},
		Rank: c.Rank, Size: c.Size, Epoch: c.Epoch,
		Limits: c.Limits, Log: c.Log,
	}
}
