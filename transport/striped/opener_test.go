package striped

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestOpener(t *testing.T) {
	for _, o := range []Opener{{}, {Links: 1}, {Links: 4, Config: Config{Parity: 1}}} {
		transporttest.RunOpener(t, o)
	}
}

func TestOpenerReportsWhatIsWrong(t *testing.T) {
	for want, o := range map[string]Opener{
		"Opener.Links is 65, want 1 to 64": {Links: 65},
		"Limits or Log of Opener.Config":   {Config: Config{Limits: transport.Limits{Heartbeat: 1}}},
		"Parity":                           {Config: Config{Parity: -1}},
		"Opener.Over is placed":            {Over: placed{}},
	} {
		end, err := o.Open(t.Context(), rendezvous.Opening{})
		require.ErrorContains(t, err, want)
		require.Nil(t, end)
	}
}

// TestRanksWithOtherLinks learn so from each other as they meet.
func TestRanksWithOtherLinks(t *testing.T) {
	addr, errs := loopback.Addr(), make(chan error, 2)
	for r, o := range []Opener{{Links: 2}, {Links: 3}} {
		go func() {
			_, err := o.Open(t.Context(), rendezvous.Opening{
				Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: 2, Addr: addr, Job: t.Name()},
			})
			errs <- err
		}()
	}
	for range 2 {
		err := <-errs
		require.ErrorIs(t, err, transport.ErrMismatch)
		require.ErrorContains(t, err, "striped.links: rank ")
	}
}

// placed knows its ranks by itself.
type placed struct{ rendezvous.Opener }

func (placed) Name() string { return "placed" }
func (placed) PlacesRanks() {}

// FuzzAddresses: whatever rank 0 sends is n addresses or an error that names it.
func FuzzAddresses(f *testing.F) {
	f.Add([]byte(`["127.0.0.1:1","127.0.0.1:2"]`), 2)
	f.Add([]byte(`["127.0.0.1:1"]`), 2)
	f.Add([]byte(`{`), 0)
	f.Fuzz(func(t *testing.T, text []byte, n int) {
		addrs, err := parseAddresses(text, n)
		if err != nil {
			require.ErrorIs(t, err, transport.ErrProtocol)
			require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
			return
		}
		require.Len(t, addrs, n)
	})
}
