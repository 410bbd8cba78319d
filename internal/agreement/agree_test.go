package agreement_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// onRanks returns the error of do on each of three ranks. Errors name rank r as r+10.
func onRanks(t *testing.T, do func(rank int, r agreement.Ranks) error) []error {
	t.Helper()
	return ranktest.Errors(t, 3, func(tr transport.Transport) error {
		return do(int(tr.Rank()), agreement.Ranks{Comm: collective.New(tr), Joined: ranktest.Joined})
	})
}

func TestTheSameSettings(t *testing.T) {
	for _, err := range onRanks(t, func(_ int, r agreement.Ranks) error {
		var s agreement.Settings
		s.Add("Dim", "%d", 4)
		return r.Compare(t.Context(), &s)
	}) {
		require.NoError(t, err)
	}
}

// TestOtherSettings name the field, and a rank that has another value of it.
func TestOtherSettings(t *testing.T) {
	errs := onRanks(t, func(rank int, r agreement.Ranks) error {
		return r.Compare(t.Context(), agreement.Fields("Dim", 4, "Group", rank/2))
	})
	for rank, want := range []struct {
		culprit transport.Rank
		text    string
	}{
		{12, "here Group=0, there Group=1"},
		{12, "here Group=0, there Group=1"},
		{10, "here Group=1, there Group=0"},
	} {
		require.ErrorIs(t, errs[rank], transport.ErrMismatch)
		require.Equal(t, want.culprit, transport.CulpritOf(errs[rank]))
		require.ErrorContains(t, errs[rank], want.text)
	}
}

// TestALongSettingIsCompared by its digest.
func TestALongSettingIsCompared(t *testing.T) {
	errs := onRanks(t, func(rank int, r agreement.Ranks) error {
		var s agreement.Settings
		s.Add("Router", "%s", strings.Repeat("y\n", 1<<16)+agreement.Describe(rank))
		return r.Compare(t.Context(), &s)
	})
	for _, err := range errs {
		require.ErrorContains(t, err, "SHA-256")
		require.Less(t, len(err.Error()), 3<<10)
	}
}

// TestAFaultOfOneRank is an error of all; that rank has its own.
func TestAFaultOfOneRank(t *testing.T) {
	why := errors.New("no file\x1b")
	errs := onRanks(t, func(rank int, r agreement.Ranks) error {
		if rank == 1 {
			return r.Built(t.Context(), why)
		}
		return r.Built(t.Context(), nil)
	})
	require.ErrorIs(t, errs[1], why)
	for rank, err := range errs {
		require.Equal(t, transport.Rank(11), transport.CulpritOf(err))
		if rank != 1 {
			require.ErrorContains(t, err, `NewLayer: it failed there: no file\x1b`)
		}
	}
	for _, err := range onRanks(t, func(_ int, r agreement.Ranks) error { return r.Built(t.Context(), nil) }) {
		require.NoError(t, err)
	}
}

func TestDescribe(t *testing.T) {
	require.Equal(t, "struct { A int }{A:3}", agreement.Describe(struct{ A int }{3}))
	require.Equal(t, "*strings.Builder text", agreement.Describe(builder("text")))
}

func builder(text string) *strings.Builder {
	b := new(strings.Builder)
	b.WriteString(text)
	return b
}
