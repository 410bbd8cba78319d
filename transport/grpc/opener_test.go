package grpc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestOpener(t *testing.T) {
	transporttest.RunOpener(t, Opener{})
}

func TestOpenerRefusesAnotherSecurity(t *testing.T) {
	end, err := Opener{}.Open(t.Context(), rendezvous.Opening{Security: secure.Config{SecretFile: "secret"}})
	require.ErrorContains(t, err, "grpc: Security is set, but gRPC has its own: set Credentials of grpc.Opener")
	require.Nil(t, end)
}
