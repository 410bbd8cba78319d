package mesh

import (
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// linkers make the data streams of a pair of ranks, each of another kind.
var linkers = map[string]func(t testing.TB) (a, b Stream){
	"socket": socketPair,
	"pipe":   func(testing.TB) (a, b Stream) { return NewPipe() },
}

func socketPair(t testing.TB) (a, b Stream) {
	c, d := connected(t)
	a, err := NewSocket(c)
	require.NoError(t, err)
	b, err = NewSocket(d)
	require.NoError(t, err)
	return a, b
}

// connected returns the two ends of a connection over loopback.
func connected(t testing.TB) (a, b *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	d, err := l.Accept()
	require.NoError(t, err)
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// config is what a transport would fill in.
func config(r, n int) Config {
	return Config{
		Capabilities: transport.Capabilities{Name: "mesh", SurvivesPeerLoss: true},
		Rank:         transport.Rank(r), Size: n,
		Limits: transport.Limits{OpTimeout: 30 * time.Second, DeadAfter: 5 * time.Second}.WithDefaults(transport.DefaultLimits()),
		Log:    slog.New(slog.DiscardHandler),
	}
}

// openAll builds the mesh of n ranks of this process over sockets; each may change its
// configuration.
func openAll(t testing.TB, n int, change func(c *Config)) []*Mesh {
	return openOver(t, socketPair, n, change)
}

func openOver(t testing.TB, link func(testing.TB) (a, b Stream), n int, change func(c *Config)) []*Mesh {
	ends := make([]*Mesh, n)
	for r := range n {
		cfg := config(r, n)
		if change != nil {
			change(&cfg)
		}
		ends[r] = New(cfg)
	}
	for i := range n {
		for j := range i {
			a, b := link(t)
			c, d := connected(t)
			_, shared := a.(Sharer)
			ends[i].OpenData(transport.Rank(j), a, !shared)
			ends[j].OpenData(transport.Rank(i), b, !shared)
			ends[i].OpenControl(transport.Rank(j), c)
			ends[j].OpenControl(transport.Rank(i), d)
		}
	}
	for _, e := range ends {
		require.Empty(t, e.Missing())
		e.Start(true)
	}
	t.Cleanup(func() { closeAll(ends) })
	return ends
}

// closeAll closes all ends at once, as a job that has ended does.
func closeAll(ends []*Mesh) {
	var wg sync.WaitGroup
	for _, e := range ends {
		wg.Go(func() { _ = e.Close() })
	}
	wg.Wait()
}
