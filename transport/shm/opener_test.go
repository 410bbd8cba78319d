package shm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestOpener(t *testing.T) {
	if !Supported {
		t.Skip("shared memory needs Linux")
	}
	transporttest.RunOpener(t, Opener{})
}

func TestOpenerRefusesWhatMemoryCannotDo(t *testing.T) {
	end, err := Opener{}.Open(t.Context(), rendezvous.Opening{
		Identity: rendezvous.Identity{Size: 4}, LocalSize: 2, Host: "127.0.0.1", Security: secure.Config{SecretFile: "secret"},
	})
	require.ErrorContains(t, err, "shm: Security is set")
	require.ErrorContains(t, err, `shm: Host is "127.0.0.1"`)
	require.ErrorContains(t, err, "shm: only 2 of 4 ranks run on this machine")
	require.Nil(t, end)
}
