package alltoall

// The rows of the first trip are gathered and encoded while the counts travel: neither needs the
// other. Which rows are gathered depends on the algorithm, and that on the counts of all ranks, so
// the algorithm of the last exchange is assumed.

// prepare begins to make the source ready for algorithm a.
func (h *Handle) prepare(raw source, a Algorithm) {
	x := h.x
	h.raw, h.src, h.packed = raw, raw, nil
	if raw.wantsPacking(x, a) {
		h.src = source{m: x.pool.matrix(len(raw.token), x.dim)}
		h.packed = h.src.m.Data
	} else if !x.wires.narrows() || raw.late {
		return
	}
	if h.packing == nil {
		h.packing = h.pack
	}
	h.preparing.Add(1)
	go h.packing()
}

// pack runs on a goroutine of its own.
func (h *Handle) pack() {
	defer h.preparing.Done()
	if h.packed != nil {
		h.raw.gather(h.src.m)
	}
	h.encodeSource()
}

// prepared waits until the source is ready for a, the dispatch's algorithm.
func (h *Handle) prepared(a Algorithm) {
	h.preparing.Wait()
	if h.raw.wantsPacking(h.x, a) != (h.packed != nil) {
		h.x.pool.put(h.packed)
		h.prepare(h.raw, a)
		h.preparing.Wait()
	}
}
