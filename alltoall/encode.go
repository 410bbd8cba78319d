package alltoall

import "github.com/switchyard-moe/switchyard/internal/mat"

// encodedRows are the rows of a first trip as the codec of a class of links writes them, each at
// the place of its number.
type encodedRows struct {
	bytes   []byte
	written []bool // of each row, if only some are
}

// row is where a row of a number stands, if it has the given length.
func (e *encodedRows) row(i, width int) []byte { return e.bytes[i*width : (i+1)*width] }

// encodeSource writes all rows of the first trip as their leg does: those of each token once, or if
// there are several classes of links once for each of those to which it goes.
func (h *Handle) encodeSource() {
	if h.x.wires.links == nil {
		h.encodeAll()
		return
	}
	for link := range h.encoded {
		h.makeRoom(link)
		h.encoded[link].written = cleared(h.encoded[link].written, h.src.m.Rows)
	}
	begin := 0
	for r, end := range h.sentEnds {
		h.encodeFor(r, begin, end)
		begin = end
	}
}

// encodeAll writes all rows for the only class of links.
func (h *Handle) encodeAll() {
	if l := &h.x.wires.of[far].dispatch; l.codec != nil {
		h.makeRoom(far)
		for i := range h.src.m.Rows {
			h.encodeRow(l, &h.encoded[far], i)
		}
	}
}

// setSentEnds notes where the rows for each rank end, if their codecs may differ.
func (h *Handle) setSentEnds(c Counts) {
	h.sentEnds = h.sentEnds[:0]
	if h.x.wires.links == nil {
		return
	}
	end := 0
	for r := range h.x.size() {
		end += mat.Sum(c.ofExperts(h.x.placement.Of(r)))
		h.sentEnds = append(h.sentEnds, end)
	}
}

// encodeRuns writes the rows of runs for the classes of links that they take, as encodeSource wrote
// them for those to their homes.
func (h *Handle) encodeRuns() {
	if h.x.wires.links == nil || h.raw.late {
		return
	}
	for i, run := range h.of {
		if s := h.out[i]; run.Rank != h.x.placement.Home(run.Expert) {
			h.encodeFor(run.Rank, s.First, s.First+s.Rows)
		}
	}
}

// makeRoom makes room for the rows of a class of links.
func (h *Handle) makeRoom(link int) {
	n := 0
	if l := &h.x.wires.of[link].dispatch; l.codec != nil {
		n = h.src.m.Rows * l.width
	}
	if e := &h.encoded[link]; cap(e.bytes) < n {
		e.bytes = make([]byte, n)
	} else {
		e.bytes = e.bytes[:n]
	}
}

// encodeFor writes rows [begin, end) of what leaves, which go to rank r.
func (h *Handle) encodeFor(r, begin, end int) {
	link := h.x.wires.link(r)
	l, e := &h.x.wires.of[link].dispatch, &h.encoded[link]
	if l.codec == nil {
		return
	}
	for i := begin; i < end; i++ {
		row := i
		if h.src.token != nil {
			row = int(h.src.token[i])
		}
		if !e.written[row] {
			e.written[row] = true
			h.encodeRow(l, e, row)
		}
	}
}

func (h *Handle) encodeRow(l *leg, e *encodedRows, i int) {
	m := h.src.m
	err := l.encode(e.row(i, l.width), m.Data[i*m.Stride:i*m.Stride+h.x.dim])
	if err != nil && h.unwritten == nil {
		h.unwritten = err
	}
}
