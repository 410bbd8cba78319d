package opening

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/hybrid"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// named opens nothing, and notes with what terms.
type named struct {
	name string
	got  *rendezvous.Opening
}

func (n named) Name() string { return n.name }

func (n named) Open(_ context.Context, o rendezvous.Opening) (transport.Transport, error) {
	*n.got = o
	return nil, nil
}

func TestChoose(t *testing.T) {
	own := named{name: "carrier"}
	for name, want := range map[string]rendezvous.Opener{
		"": hybrid.Opener{NoSharedMemory: true}, "auto": hybrid.Opener{NoSharedMemory: true}, "hybrid": hybrid.Opener{NoSharedMemory: true},
		"tcp": tcp.Opener{NoPayloadSums: true}, "carrier": own, "inproc": alone{},
	} {
		got, err := Choose(Request{Name: name, NoSharedMemory: true, Program: []rendezvous.Opener{own, tcp.Opener{NoPayloadSums: true}}})
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", name)
	}
}

func TestWhatCannotBeChosen(t *testing.T) {
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{Name: "carrier", From: "X"}, `X is "carrier", and this program has auto, hybrid, tcp, shm, inproc; a transport of your own stands in JoinConfig.Transports`},
		{Request{Name: "mpi", From: "X"}, "for mpi import github.com/switchyard-moe/switchyard/transport/mpi and set JoinConfig.Transports to []switchyard.Opener{mpi.Opener{}}"},
		{Request{Name: "\x1b[2J", From: "X"}, `X is "\\x1b[2J"`},
		{Request{Name: "shm", From: "X", NoSharedMemory: true}, `X is "shm", and NoSharedMemory is set`},
		{Request{Program: []rendezvous.Opener{nil}}, "Transports[0] is nil"},
		{Request{Program: []rendezvous.Opener{named{name: "My Own"}}}, `Transports[0] has the name "My Own"`},
		{Request{Program: []rendezvous.Opener{named{name: "auto"}}}, `Transports[0] has the name "auto"`},
		{Request{Program: []rendezvous.Opener{named{name: "a"}, named{name: "a"}}}, `two of the name "a"`},
	} {
		_, err := Choose(c.r)
		require.ErrorContains(t, err, c.want)
	}
}

// TestOpen: ranks compare what they have chosen, and the program's settings stay as they are.
func TestOpen(t *testing.T) {
	var got rendezvous.Opening
	mine := map[string]string{"experts": "8"}
	_, err := Open(t.Context(), named{"carrier", &got}, rendezvous.Opening{Identity: rendezvous.Identity{Size: 2, Settings: mine}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"experts": "8", "switchyard.transport": "carrier"}, got.Settings)
	require.Equal(t, map[string]string{"experts": "8"}, mine)
}

// TestAlone: one rank needs no transport, whatever is chosen, and memory connects no more.
func TestAlone(t *testing.T) {
	end, err := Open(t.Context(), tcp.Opener{}, rendezvous.Opening{Identity: rendezvous.Identity{Size: 1}})
	require.NoError(t, err)
	require.Equal(t, "inproc", transport.CapabilitiesOf(end).Name)
	require.NoError(t, end.Close())
	_, err = Open(t.Context(), alone{}, rendezvous.Opening{Identity: rendezvous.Identity{Rank: 1, Size: 2}})
	require.EqualError(t, err, "inproc connects the ranks of one process, and this one is rank 1 of 2: choose auto, tcp or shm")
}
