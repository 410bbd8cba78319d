package schedule

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func someProfile() *Profile {
	return &Profile{Machine: "two nodes, 1 Gb/s", Fits: map[Op]Fit{
		Dispatch: {Linear: Linear{1e-4, 8e-9}, R2: 0.998, Samples: 40, Least: 0, Most: 1 << 20},
		Expert:   {Linear: Linear{3e-6, 5e-11}, R2: 1, Samples: 12, Least: 1, Most: 1e12},
	}}
}

func TestProfileSurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile.json")
	p := someProfile()
	require.NoError(t, p.Save(path))
	require.NoError(t, p.Save(path), "over an older one")
	back, err := LoadProfile(path)
	require.NoError(t, err)
	require.Equal(t, p, back)
	require.Equal(t, Linear{1e-4, 8e-9}, back.Costs()[Dispatch])
	require.Zero(t, back.Costs()[Gather])
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
}

func TestSaveLeavesTheOldFileOnFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile.json")
	require.NoError(t, someProfile().Save(path))
	bad := someProfile()
	bad.Fits[Dispatch] = Fit{Linear: Linear{Alpha: -1}, Samples: 1, R2: 2}
	require.Error(t, bad.Save(path))
	back, err := LoadProfile(path)
	require.NoError(t, err)
	require.Equal(t, someProfile(), back)
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	_, err = LoadProfile(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDecodeProfileRefuses(t *testing.T) {
	const fit = `{"alpha":1,"beta":1,"r2":1,"samples":2,"least":0,"most":1}`
	for data, says := range map[string]string{
		``:                  "not a profile",
		`[]`:                "not a profile",
		`{"version":2}`:     "version 2; this program reads version 1: measure anew",
		`{"version":1} {}`:  "more than one value",
		`{"version":1,"x":`: "not a profile",
		`{"version":1,"operations":{"teleport":` + fit + `}}`:                                                 `"teleport": there is no such operation`,
		`{"version":1,"operations":{"expert":{"gamma":1}}}`:                                                   "unknown field",
		`{"version":1,"operations":{"expert":` + strings.Replace(fit, `"alpha":1`, `"alpha":-1`, 1) + `}}`:    "profile of expert: alpha is -1",
		`{"version":1,"operations":{"expert":` + strings.Replace(fit, `"r2":1`, `"r2":1.5`, 1) + `}}`:         "r2 1.5 of 2 samples",
		`{"version":1,"operations":{"expert":` + strings.Replace(fit, `"samples":2`, `"samples":1`, 1) + `}}`: "of at least 2",
		`{"version":1,"operations":{"expert":` + strings.Replace(fit, `"most":1`, `"most":0`, 1) + `}}`:       "of two sizes",
		`{"version":1,"machine":"` + strings.Repeat("x", profileLimit) + `"}`:                                 "not a profile",
		`{"version":1}` + strings.Repeat(" ", profileLimit):                                                   "bytes",
		`{"version":1,"operations":{"expert":` + strings.Replace(fit, `"beta":1`, `"beta":1e999`, 1) + `}}`:   "not a profile",
	} {
		_, err := DecodeProfile(strings.NewReader(data))
		require.ErrorContains(t, err, says, data[:min(80, len(data))])
	}
}

// FuzzDecodeProfile: whatever decodes is a valid profile and survives another round.
func FuzzDecodeProfile(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, someProfile().Encode(&b))
	f.Add(b.Bytes())
	f.Add([]byte(`{"version":1,"machine":"","operations":{}}`))
	f.Add([]byte(`{"version":1,"operations":{"expert":{"alpha":1,"beta":0,"r2":0,"samples":2,"least":0,"most":1e308}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := DecodeProfile(bytes.NewReader(data))
		if err != nil {
			return
		}
		require.NoError(t, p.Validate())
		var out bytes.Buffer
		require.NoError(t, p.Encode(&out))
		again, err := DecodeProfile(&out)
		require.NoError(t, err)
		require.Equal(t, p.Fits, again.Fits)
	})
}

func TestMeterProfilesWhatRan(t *testing.T) {
	costs := &Costs{Dense: {1, 2}, Dispatch: {3, 4}, Expert: {5, 6}, Combine: {1, 1}}
	var m Meter
	for _, size := range []float64{2, 6, 9} {
		l := Layer{Dense: {1, size}, Dispatch: {1, 2 * size}, Expert: {2, size}, Combine: {1, 7}}
		line := Simulate(BuildForward([]Layer{l}, &Plan{}), costs)
		m.AddRun(&line, nil)
	}
	p := m.Profile("paper")
	require.NoError(t, p.Validate())
	require.NotContains(t, p.Fits, Combine, "one size only")
	for _, op := range []Op{Dense, Dispatch, Expert} {
		require.InDelta(t, costs[op].Alpha, p.Fits[op].Alpha, 1e-9, "%v", op)
		require.InDelta(t, costs[op].Beta, p.Fits[op].Beta, 1e-9, "%v", op)
		require.InDelta(t, 1, p.Fits[op].R2, 1e-9)
	}
	require.Empty(t, m.Drifted())
}

func TestMeterNoticesDrift(t *testing.T) {
	costs := &Costs{Dispatch: {0, 1}}
	m := Meter{Window: 5, Tolerance: 0.2}
	require.NoError(t, m.Validate())
	add := func(ratios ...float64) {
		for _, r := range ratios {
			m.Add(Dispatch, Work{1, 10}, 10*r, costs[Dispatch].Time(Work{1, 10}))
		}
	}
	add(1, 1, 9, 9)
	require.Empty(t, m.Drifted(), "less than a window")
	add(1, 1, 1)
	require.Empty(t, m.Drifted(), "hiccups")
	add(1.3, 1.3, 1.3)
	require.Equal(t, []Op{Dispatch}, m.Drifted())
	m.Forget(Dispatch)
	require.Empty(t, m.Drifted())
	add(0.8, 0.8, 0.8, 0.8, 0.8)
	require.Equal(t, []Op{Dispatch}, m.Drifted(), "faster counts too")
	m.Add(Dense, Work{}, 1, 1) // nothing to learn from
	require.Error(t, (&Meter{Tolerance: -1}).Validate())
}

func TestMeterDefaults(t *testing.T) {
	var m Meter
	for range 16 {
		require.Empty(t, m.Drifted())
		m.Add(Expert, Work{1, 1}, 1.3, 1)
	}
	require.Equal(t, []Op{Expert}, m.Drifted())
}
