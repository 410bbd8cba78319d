package rendezvous

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIdentityReportsEveryFault(t *testing.T) {
	i := Identity{Rank: 9, Size: 3, Addr: "x", Job: "two\nlines", Settings: map[string]string{"": "v"}}
	err := i.Validate("x", 2)
	for _, part := range []string{"x: Size 3 is outside 1..2", "x: Rank 9 is outside 0..2", `x: Addr "x" is not host:port`,
		"job name", "setting"} {
		require.ErrorContains(t, err, part)
	}
	require.NoError(t, Identity{}.Validate("x", 2), "a job of one rank needs nothing")
	require.Equal(t, 1, Identity{}.WithDefaults().Size)
	require.ErrorContains(t, Identity{Size: 2}.Validate("x", 2), `Addr "" is not host:port`)
}

func TestProcessHasAnIdentity(t *testing.T) {
	p := Process{Rank: 1, Size: 2, Addr: "h:1", Job: "j", LocalSize: 2, Agent: "a"}
	require.Equal(t, Identity{Rank: 1, Size: 2, Addr: "h:1", Job: "j"}, p.Identity())
}
