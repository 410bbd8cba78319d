package mpi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// TestOpenerRefusesWhatMPICannotDo: its ranks are processes of mpirun, which .ci/run trains over.
func TestOpenerRefusesWhatMPICannotDo(t *testing.T) {
	end, err := Opener{}.Open(t.Context(), rendezvous.Opening{Host: "127.0.0.1", Security: secure.Config{SecretFile: "secret"}})
	require.ErrorContains(t, err, "mpi: Security is set")
	require.ErrorContains(t, err, `mpi: Host is "127.0.0.1"`)
	require.Nil(t, end)
}
