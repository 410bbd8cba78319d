package autotune

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProfileIsValidated names what is wrong.
func TestProfileIsValidated(t *testing.T) {
	good := func() *Profile {
		return profileOf(4, map[int]OpSeconds{1: {Whole: 1}, 2: {Whole: 1}, 4: {Whole: 1}})
	}
	require.NoError(t, good().Validate(2, 4))
	require.NoError(t, (*Profile)(nil).Validate(2, 4))
	for want, damage := range map[string]func(p *Profile){
		"is of 3 ranks and 4 chunks, want 2 and 4": func(p *Profile) { p.Ranks = 3 },
		"has not timed 1 and 4 chunks":             func(p *Profile) { p.Timed = p.Timed[1:] },
		"has 1 chunks after 1":                     func(p *Profile) { p.Timed[1].Chunks = 1 },
		"has NaN":                                  func(p *Profile) { p.Timed[1].Backward.Experts = math.NaN() },
		"has -1":                                   func(p *Profile) { p.Timed[2].Slowest = -1 },
		"has +Inf":                                 func(p *Profile) { p.Timed[0].Forward.Dispatch = math.Inf(1) },
		"does not say how long whole passes":       func(p *Profile) { p.Timed[0].Forward.Whole = 0 },
	} {
		p := good()
		damage(p)
		require.ErrorContains(t, p.Validate(2, 4), want)
	}
}

// TestProfileKeepsItsFormat: profiles that programs have stored as JSON stay readable, with the
// names that fields had when they were written.
func TestProfileKeepsItsFormat(t *testing.T) {
	const stored = `{"Ranks":2,"Most":4,"Timed":[{"Parts":1,"Steps":7,` +
		`"Forward":{"Dispatch":1,"Experts":2,"Combine":3,"Weights":4,"Aside":5,"Background":6,"Chunks":7,"Whole":8},` +
		`"Backward":{"Dispatch":0,"Experts":0,"Combine":0,"Weights":0,"Aside":0,"Background":0,"Chunks":0,"Whole":0},"Slowest":9}]}`
	var p Profile
	require.NoError(t, json.Unmarshal([]byte(stored), &p))
	require.Equal(t, Profile{Ranks: 2, Most: 4, Timed: []DegreeSeconds{{
		Chunks: 1, Steps: 7, Slowest: 9,
		Forward: OpSeconds{Dispatch: 1, Experts: 2, Combine: 3, Weights: 4, Shared: 5, Background: 6, Collectives: 7, Whole: 8},
	}}}, p)
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.Equal(t, stored, string(text))
}
