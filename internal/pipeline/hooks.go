package pipeline

import (
	"context"
	"slices"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/transport"
)

// Points of a pass at which hooks are called, in the order of hook.Points.List.
const (
	Start = iota
	BeforeDispatch
	AfterDispatch
	BeforeCombine
	AfterCombine
	End
)

// Hooks calls the hooks of one direction of one pass. Nil has none. It may be called by the
// goroutine that moves rows and by that which computes at the same time.
type Hooks struct {
	list   [hook.Number]hook.Func
	call   hook.Call
	checks *passcheck.Stage
	order  layout.Order

	mu    sync.Mutex
	fault passcheck.Fault // of a hook, after which none is called
}

// NewHooks returns those of a pass, or nil if none is set. Experts stand in the given order.
func NewHooks(points *hook.Points, call hook.Call, checks *passcheck.Stage, order layout.Order) *Hooks {
	list := points.List()
	if !slices.ContainsFunc(list[:], func(f hook.Func) bool { return f != nil }) {
		return nil
	}
	return &Hooks{list: list, call: call, checks: checks, order: order}
}

// Has reports whether a hook is set.
func (h *Hooks) Has(point int) bool { return h != nil && h.list[point] != nil }

// Tokens calls the hook before or after the layer, if there is one, with rows m, and reports
// whether it has succeeded.
func (h *Hooks) Tokens(ctx context.Context, point int, m blas32.General) bool {
	return !h.Has(point) || m.Rows == 0 || h.do(ctx, point, h.call, m)
}

// rows calls the hook of a point, if there is one, for each of the runs of a chunk. The rows of the
// chunk are those of m, of which the first is row number first of all.
func (h *Hooks) rows(ctx context.Context, point int, of *alltoall.Handle, chunk int, m blas32.General, first int) {
	if !h.Has(point) {
		return
	}
	runs := of.Leaving
	if point == AfterDispatch || point == BeforeCombine {
		runs = of.Arriving
	}
	call := h.call
	call.Chunk, call.Chunks = chunk, of.Chunks()
	for _, r := range h.numbered(runs(chunk)) {
		call.Expert, call.Ends = r.Expert, r.Ends
		begin := r.First - first
		if !h.do(ctx, point, call, mat.Rows(m, begin, begin+r.Rows)) {
			return
		}
	}
}

// numbered returns parts by the numbers of their experts, given parts by position: one for each
// expert that has rows, unless positions are numbers.
func (h *Hooks) numbered(parts []alltoall.Part) []alltoall.Part {
	if h.order.Plain() {
		return parts
	}
	var list []alltoall.Part
	for _, p := range parts {
		begin := 0
		for i, end := range p.Ends {
			if n := end - begin; n > 0 {
				list = append(list, alltoall.Part{
					First: p.First + begin, Rows: n, Expert: h.order.Expert(p.Expert + i), Ends: []int{n},
				})
			}
			begin = end
		}
	}
	return list
}

// do calls a hook, unless one has failed before.
func (h *Hooks) do(ctx context.Context, point int, call hook.Call, m blas32.General) bool {
	if h.failed() {
		return false
	}
	err := h.list[point](ctx, call, m)
	h.mu.Lock()
	defer h.mu.Unlock()
	k := passcheck.Hook(call.Backward, point)
	if err != nil {
		h.checks.HookFailed(&h.fault, k, err)
	} else {
		h.checks.Made(&h.fault, k, m)
	}
	return !h.fault.Found()
}

func (h *Hooks) failed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fault.Found()
}

// arrived checks what a codec has made of rows that have come back, before their hook changes them.
func (h *Hooks) arrived(k passcheck.Kind, m blas32.General, host func(row int) transport.Rank) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks.Arrived(&h.fault, k, m, host)
}

// answers calls the hook before the combine of a chunk, if there is one, and returns the answers to
// be combined: then a copy, since experts may need those that they have returned. The first is that
// to row number first of all.
func (h *Hooks) answers(ctx context.Context, of *alltoall.Handle, chunk int, list []blas32.General, first int) []blas32.General {
	if !h.Has(BeforeCombine) {
		return list
	}
	all := joined(list)
	h.rows(ctx, BeforeCombine, of, chunk, all, first)
	return []blas32.General{all}
}

// joined returns a copy of several matrices as one.
func joined(list []blas32.General) (all blas32.General) {
	for _, m := range list {
		all.Rows, all.Cols = all.Rows+m.Rows, max(all.Cols, m.Cols)
	}
	all = mat.Resize(all, all.Rows, all.Cols)
	row := 0
	for _, m := range list {
		mat.Copy(mat.Rows(all, row, row+m.Rows), m)
		row += m.Rows
	}
	return all
}

// Found adds what hooks have done wrong to what was found in a pass.
func (h *Hooks) Found(f *passcheck.Fault) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f.Merge(&h.fault)
}
