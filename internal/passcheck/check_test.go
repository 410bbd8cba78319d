package passcheck_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var nan = float32(math.NaN())

// with is a matrix of three rows of two columns, with v in row 1, column 1.
func with(v float32) blas32.General {
	return blas32.General{Rows: 3, Cols: 2, Stride: 3, Data: []float32{1, 2, nan, 3, v, nan, 5, 6}}
}

// share has each of three ranks note what find does, and share it. Errors name rank r as r+10.
func share(t *testing.T, wire alltoall.Wire, find func(rank int, s *passcheck.Stage, f *passcheck.Fault)) []error {
	t.Helper()
	return ranktest.Errors(t, 3, func(tr transport.Transport) error {
		s := passcheck.New(passcheck.Config{Ranks: 3, Rank: tr.Rank(), Wire: wire, Joined: ranktest.Joined})
		var f passcheck.Fault
		find(int(tr.Rank()), s, &f)
		return s.Share(context.Background(), collective.New(tr), "backward", &f)()
	})
}

func TestInfinite(t *testing.T) {
	row, _ := passcheck.Infinite(with(4))
	require.Equal(t, -1, row, "what lies between rows does not count")
	for _, v := range []float32{nan, float32(math.Inf(1)), float32(math.Inf(-1))} {
		row, column := passcheck.Infinite(with(v))
		require.Equal(t, []int{1, 1}, []int{row, column})
	}
	row, _ = passcheck.Infinite(blas32.General{Cols: 2, Stride: 2})
	require.Equal(t, -1, row)
}

// TestTheFirstRankIsNamedOnAll, and each that has found something gives its own error too.
func TestTheFirstRankIsNamedOnAll(t *testing.T) {
	errs := share(t, alltoall.Wire{}, func(rank int, s *passcheck.Stage, f *passcheck.Fault) {
		if rank > 0 {
			s.Gradient(f, with(nan))
		}
		require.Equal(t, rank > 0, f.Found())
	})
	for r, err := range errs {
		require.ErrorIs(t, err, alltoall.ErrRefused)
		require.ErrorIs(t, err, alltoall.ErrNotFinite)
		require.Equal(t, transport.Rank(11), transport.CulpritOf(err), "rank %d", r)
	}
	require.ErrorContains(t, errs[0], "rank 11: backward: the batch was refused: not a finite number: row 1 of dy")
	require.ErrorContains(t, errs[2], "row 1 of dy")
	require.ErrorContains(t, errs[2], "rank 12: backward: the batch was refused: not a finite number: row 1, column 1 of dy is NaN")
}

// TestWhereANumberAroseIsNamedOnAll: what experts make of rows that are not finite is not their
// fault, whichever rank they are on, and of the ranks that made such rows the lowest is named.
func TestWhereANumberAroseIsNamedOnAll(t *testing.T) {
	bad := with(nan)
	for _, c := range []struct {
		kinds   [3][]passcheck.Kind // that each rank finds, in any order
		culprit int
		says    string
	}{
		{[3][]passcheck.Kind{{passcheck.Answers}, {passcheck.Mixtures, passcheck.Answers}, {passcheck.Answers}}, 1, "the mixtures of its tokens"},
		{[3][]passcheck.Kind{{passcheck.Answers}, {passcheck.Answers}, {passcheck.Answers, passcheck.Centroids}}, 2, "the centroids of its rows"},
		{[3][]passcheck.Kind{{passcheck.Answers}, {passcheck.Mixtures}, {passcheck.Mixtures}}, 1, "the mixtures of its tokens"},
		{[3][]passcheck.Kind{{}, {passcheck.Answers}, {passcheck.Answers}}, 1, "its experts' answers"},
		{[3][]passcheck.Kind{{passcheck.RowGradients}, {passcheck.CentroidGradients}, {passcheck.AnswerGradients}}, 2, "the gradients of answers"},
		{[3][]passcheck.Kind{{passcheck.RowGradients}, {passcheck.RowGradients}, {passcheck.CentroidGradients}}, 2, "the gradients of centroids' answers"},
		{[3][]passcheck.Kind{{passcheck.RowGradients}, {passcheck.RowGradients}, {}}, 0, "its experts' gradients of rows"},
	} {
		errs := share(t, alltoall.Wire{Finite: true}, func(rank int, s *passcheck.Stage, f *passcheck.Fault) {
			for _, k := range c.kinds[rank] {
				s.Made(f, k, bad)
			}
		})
		for r, err := range errs {
			require.Equal(t, transport.Rank(10+c.culprit), transport.CulpritOf(err), "%v, rank %d: %v", c.kinds, r, err)
			require.ErrorIs(t, err, alltoall.ErrRefused)
			require.ErrorIs(t, err, alltoall.ErrNotFinite)
			require.ErrorContains(t, err, "of "+c.says)
		}
		require.ErrorContains(t, errs[c.culprit], "row 1, column 1 of "+c.says+" is NaN")
	}
}

// TestWhatAFormatMakesInfiniteIsTheFaultOfTheSender, which may have found nothing.
func TestWhatAFormatMakesInfiniteIsTheFaultOfTheSender(t *testing.T) {
	wire := alltoall.Wire{Finite: true, Dispatch: alltoall.FP16, CombineBack: alltoall.FP16}
	for _, c := range []struct {
		kind, late passcheck.Kind
		says       string
	}{
		{passcheck.Rows, passcheck.Answers, "the rows that it sent"},
		{passcheck.ReturnedGradients, 0, "the gradients of rows that it sent"},
	} {
		errs := share(t, wire, func(rank int, s *passcheck.Stage, f *passcheck.Fault) {
			if rank == 1 {
				return
			}
			if c.late != 0 {
				s.Made(f, c.late, with(nan))
			}
			s.Arrived(f, c.kind, with(nan), func(row int) transport.Rank {
				return transport.Rank(row + (2-rank)/2) // rank 0 blames rank 2, which blames rank 1
			})
			s.Arrived(f, passcheck.RowAnswers, with(nan), nil) // float32: its sender says so
		})
		for r, err := range errs {
			require.Equal(t, transport.Rank(11), transport.CulpritOf(err), "rank %d: %v", r, err)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "fp16")
		}
		require.ErrorContains(t, errs[0], "row 1, column 1 of "+c.says+" is NaN in fp16")
	}
}

// TestFormatsOfLinksAreNamed where they differ; a leg whose rows are nowhere rounded is not
// checked.
func TestFormatsOfLinksAreNamed(t *testing.T) {
	wire := alltoall.Wire{Finite: true, Combine: alltoall.FP16, Within: &alltoall.Wire{Dispatch: alltoall.FP16, Combine: alltoall.FP16}}
	for kind, says := range map[passcheck.Kind]string{
		passcheck.Rows: "in float32 between nodes, fp16 within", passcheck.RowAnswers: "is NaN in fp16", passcheck.ExpertGradients: "",
	} {
		errs := share(t, wire, func(rank int, s *passcheck.Stage, f *passcheck.Fault) {
			if rank == 0 {
				s.Arrived(f, kind, with(nan), func(int) transport.Rank { return 1 })
			}
		})
		if says == "" {
			require.NoError(t, errs[0])
			continue
		}
		require.ErrorContains(t, errs[0], says)
		require.Equal(t, transport.Rank(11), transport.CulpritOf(errs[2]))
	}
}

// TestWhatExpertsMakeIsCheckedOnRequest.
func TestWhatExpertsMakeIsCheckedOnRequest(t *testing.T) {
	for _, all := range []bool{false, true} {
		errs := share(t, alltoall.Wire{Finite: all}, func(rank int, s *passcheck.Stage, f *passcheck.Fault) {
			if rank == 2 {
				s.Made(f, passcheck.Answers, with(4), with(nan))
				s.Made(f, passcheck.Answers, with(float32(math.Inf(1))))
			}
		})
		if !all {
			require.Equal(t, make([]error, 3), errs)
			continue
		}
		require.ErrorContains(t, errs[0], "row 1 of its experts' answers")
		require.ErrorContains(t, errs[2], "row 1, column 1 of its experts' answers is NaN")
		require.Equal(t, transport.Rank(12), transport.CulpritOf(errs[1]))
	}
}

// TestClustersThatCannotBeMade are an error of the rank whose function made none.
func TestClustersThatCannotBeMade(t *testing.T) {
	why := errors.New("no clusters")
	errs := share(t, alltoall.Wire{}, func(rank int, s *passcheck.Stage, f *passcheck.Fault) {
		if rank == 1 {
			s.Unassigned(f, why)
		}
	})
	require.ErrorIs(t, errs[1], why)
	require.ErrorContains(t, errs[0], "its Config.Compression.Assign failed")
	require.ErrorIs(t, errs[0], alltoall.ErrRefused)
	require.Equal(t, transport.Rank(11), transport.CulpritOf(errs[2]))
}

// TestARankThatIsAloneSharesWithNobody.
func TestARankThatIsAloneSharesWithNobody(t *testing.T) {
	tr := inproc.New(1)[0]
	defer func() { require.NoError(t, tr.Close()) }()
	s := passcheck.New(passcheck.Config{
		Ranks: 1, Joined: func(r transport.Rank) transport.Rank { return r },
	})
	var f passcheck.Fault
	require.NoError(t, s.Share(context.Background(), nil, "forward", &f)())
	s.Gradient(&f, with(nan))
	require.ErrorIs(t, s.Share(context.Background(), nil, "forward", &f)(), alltoall.ErrNotFinite)
}

// TestAnEndedContextIsTheErrorOfThePass.
func TestAnEndedContextIsTheErrorOfThePass(t *testing.T) {
	list := inproc.New(2)
	defer func() {
		for _, tr := range list {
			_ = tr.Close()
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := passcheck.New(passcheck.Config{Ranks: 2})
	err := s.Share(ctx, collective.New(list[0]), "forward", new(passcheck.Fault))()
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "what the ranks say of the pass")
}

// TestAnyWordOfAPeerIsAnError that names a rank there is.
func TestAnyWordOfAPeerIsAnError(t *testing.T) {
	list := inproc.New(2)
	defer func() {
		for _, tr := range list {
			_ = tr.Close()
		}
	}()
	for _, word := range []uint64{1, 12<<56 | 1, 9<<56 | 2, 10<<56 | 1<<55, math.MaxUint64, 200<<56 | 3} {
		peer := make(chan error, 1)
		go func() {
			mine := binary.LittleEndian.AppendUint64(nil, word)
			peer <- collective.New(list[1]).AllGather(context.Background(), make([]byte, 16), mine)
		}()
		s := passcheck.New(passcheck.Config{
			Ranks: 2, Joined: func(r transport.Rank) transport.Rank { return r },
		})
		err := s.Share(context.Background(), collective.New(list[0]), "forward", new(passcheck.Fault))()
		require.NoError(t, <-peer)
		require.ErrorIs(t, err, alltoall.ErrRefused)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err), "%#x: %v", word, err)
	}
}

// TestHooksInThePass: what a hook has done wrong stands between what came before it in the pass and
// what comes after, whichever rank finds which.
func TestHooksInThePass(t *testing.T) {
	broken := errors.New("broken")
	wire := alltoall.Wire{Finite: true, Dispatch: alltoall.FP16, Combine: alltoall.FP16}
	names := []string{"Start", "BeforeDispatch", "AfterDispatch", "BeforeCombine", "AfterCombine", "End"}
	stages := []passcheck.Kind{ // of what comes before each
		0, passcheck.CentroidGradients, passcheck.Rows, passcheck.Answers, passcheck.RowAnswers, passcheck.RowAnswers,
	}
	for point, name := range names {
		for _, later := range []bool{false, true} {
			at := point
			if later {
				at++
			}
			if at == len(stages) || at == 0 || stages[at] == stages[max(at-1, 0)] && later {
				continue
			}
			errs := share(t, wire, func(rank int, s *passcheck.Stage, f *passcheck.Fault) {
				switch rank {
				case 0:
					if k := stages[at]; k == passcheck.Rows || k == passcheck.RowAnswers {
						s.Arrived(f, k, with(nan), func(int) transport.Rank { return 0 })
					} else {
						s.Made(f, k, with(nan))
					}
				case 1:
					var of passcheck.Fault
					s.HookFailed(&of, passcheck.Hook(false, point), broken)
					f.Merge(&of)
				}
			})
			for r, err := range errs {
				if !later {
					require.Equal(t, transport.Rank(10), transport.CulpritOf(err), "rank %d: %v", r, err)
					continue
				}
				require.Equal(t, transport.Rank(11), transport.CulpritOf(err), "rank %d: %v", r, err)
				require.ErrorContains(t, err, "forward: ")
				require.ErrorContains(t, err, "Config.Hooks.Forward."+name)
				require.Equal(t, r == 1, errors.Is(err, broken))
			}
		}
		require.Equal(t, "the rows of its Config.Hooks.Backward."+name, passcheck.Hook(true, point).String())
	}
	require.Equal(t, "rows of unknown kind 28", (passcheck.Hook(true, 5) + 1).String())
	require.Equal(t, "rows of unknown kind 15", (passcheck.Hook(false, 0) - 1).String())
}
