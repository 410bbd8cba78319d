package tcp

import (
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Transport is one rank's end of the mesh. It implements transport.Transport, Exchanger, Describer and Counter. All
// methods may be called from any number of goroutines at once.
type Transport struct {
	*mesh.Mesh
	cfg  Config
	near Near           // for the time of joining
	net  rendezvous.Net // the same, with its defaults
	own  string         // the address of this rank's listener
}

var (
	_ transport.Transport = (*Transport)(nil)
	_ transport.Exchanger = (*Transport)(nil)
	_ transport.Describer = (*Transport)(nil)
	_ transport.Counter   = (*Transport)(nil)
)

// newTransport returns a transport without lanes; cfg has its defaults.
func newTransport(cfg Config) *Transport {
	return &Transport{cfg: cfg, net: cfg.Net.WithDefaults(), Mesh: mesh.New(mesh.Config{
		Capabilities: transport.Capabilities{Name: "tcp", SurvivesPeerLoss: true, Encrypted: cfg.Security.Encrypted(), Network: true},
		Rank:         cfg.Rank, Size: cfg.Size, Epoch: cfg.Epoch,
		OpTimeout: cfg.OpTimeout, Heartbeat: cfg.Heartbeat, DeadAfter: cfg.DeadAfter, CloseTimeout: cfg.CloseTimeout,
		MaxUnexpectedBytes: cfg.MaxUnexpectedBytes, Log: cfg.Log,
	})}
}
