package mpi

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport"
)

func TestConfigHasTheLimitsOfMPI(t *testing.T) {
	require.NoError(t, Config{}.Validate())
	require.Equal(t, 5*time.Minute, Config{}.WithDefaults().CloseTimeout)
	require.Equal(t, 1<<20, Config{}.WithDefaults().MaxUnexpectedBytes)
	c := Config{
		Limits: transport.Limits{JoinTimeout: 1, Heartbeat: 1, DeadAfter: 2, CloseTimeout: -1, MaxUnexpectedBytes: -1},
		Size:   -1, Settings: map[string]string{"": "x"},
	}
	err := c.Validate()
	for _, part := range []string{"mpi: JoinTimeout 1ns is set, but mpi has no such limit", "mpi: Heartbeat 1ns is set",
		"mpi: DeadAfter 2ns is set", "mpi: CloseTimeout -1ns is negative", "mpi: MaxUnexpectedBytes -1 is negative", "mpi: Size -1", "setting"} {
		require.ErrorContains(t, err, part)
	}
}
