package balance

import (
	"cmp"
	"slices"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// piece is a number of rows of an expert that a rank is to compute.
type piece struct {
	expert, rank int32
	rows         int64
}

// draft is the memory in which a planner works: it gives helpers pieces of experts, and divides the
// experts into runs by them. It predicts what it has divided.
type draft struct {
	Prediction
	pieces []piece        // of helpers
	runs   []alltoall.Run // of experts that are shared out, sorted as an allocation is
	cutter cutter
	ranked []int32 // experts of a rank, or all
	slots  []int   // pieces that each rank has
	last   []int32 // one more than the expert of the last of them
}

// begin reads the loads of p, and tells whether anything can be shared.
func (d *draft) begin(p *Problem) bool {
	d.Fill(p, nil)
	d.runs = d.runs[:0]
	d.restart()
	return p.Limits.Slots > 0 && len(d.Rows) > 1 && d.allRows() > 0
}

// restart forgets all pieces.
func (d *draft) restart() {
	d.pieces, d.slots, d.last = d.pieces[:0], zeros(d.slots, len(d.Rows)), zeros(d.last, len(d.Rows))
}

// allRows is the number of rows of all ranks.
func (d *draft) allRows() (n int64) {
	for _, rows := range d.Rows {
		n += rows
	}
	return n
}

// give has a helper compute rows of an expert.
func (d *draft) give(expert, rank int, rows int64) {
	d.pieces = append(d.pieces, piece{int32(expert), int32(rank), rows})
	d.slots[rank]++
	d.last[rank] = int32(expert) + 1
}

// takes tells whether a rank can take a piece of expert e, of which it may have been given one
// last.
func (d *draft) takes(rank, e int) bool {
	return int(d.home[e]) != rank && d.slots[rank] < d.problem.Limits.Slots && int(d.last[rank]) != e+1
}

// expertsOf returns the experts of a rank with the most rows first, and of equal ones that with the
// lower number. The next call uses their memory again.
func (d *draft) expertsOf(rank int) []int32 {
	begin, end := d.problem.Loads.Placement.Of(rank)
	d.ranked = d.ranked[:0]
	for e := begin; e < end; e++ {
		d.ranked = append(d.ranked, int32(e))
	}
	return d.mostFirst()
}

// mostFirst sorts d.ranked by rows.
func (d *draft) mostFirst() []int32 {
	slices.SortFunc(d.ranked, func(a, b int32) int {
		return cmp.Or(cmp.Compare(d.total[b], d.total[a]), cmp.Compare(a, b))
	})
	return d.ranked
}

// divide turns the pieces into runs, an expert's home computing what no piece has, with cuts as
// near as can be.
func (d *draft) divide(by order) {
	d.divideBy(func(runs []alltoall.Run, e int, helpers []piece) []alltoall.Run {
		return d.cutter.cut(runs, e, int(d.home[e]), helpers, by, 0)
	})
}

// divideBy turns the pieces into runs with cut, which appends those of an expert that the cutter
// has read.
func (d *draft) divideBy(cut func(runs []alltoall.Run, e int, helpers []piece) []alltoall.Run) {
	slices.SortStableFunc(d.pieces, func(a, b piece) int { return cmp.Compare(a.expert, b.expert) })
	for i := 0; i < len(d.pieces); {
		e := int(d.pieces[i].expert)
		end := i + 1
		for end < len(d.pieces) && int(d.pieces[end].expert) == e {
			end++
		}
		d.read(e)
		d.runs = cut(d.runs, e, d.pieces[i:end])
		i = end
	}
	d.moveAll(d.runs, 1)
	d.fit()
}

// read has the cutter count the rows of expert e.
func (d *draft) read(e int) {
	leaves := d.leaves()
	d.cutter.read(d.problem.Loads.Rows[e*leaves : (e+1)*leaves])
}

// moveAll moves runs, and sets the times.
func (d *draft) moveAll(runs []alltoall.Run, sign int64) {
	for _, r := range runs {
		d.move(r, sign)
	}
	d.retime()
}

// fit takes experts home until every rank that has a foreign run computes no more rows than the
// limit: first the one of the largest such run, and of equal ones the first.
func (d *draft) fit() {
	for {
		e := d.tooLarge()
		if e < 0 {
			return
		}
		begin, end := runsOf(d.runs, e)
		d.moveAll(d.runs[begin:end], -1)
		d.runs = slices.Delete(d.runs, begin, end)
	}
}

// tooLarge is the expert of the largest foreign run on a rank with more rows than the limit, or −1.
func (d *draft) tooLarge() (expert int) {
	expert = -1
	if d.problem.Limits.Rows == 0 {
		return expert
	}
	leaves, largest := d.leaves(), int64(-1)
	for _, r := range d.runs {
		if int(d.home[r.Expert]) == r.Rank || d.Rows[r.Rank] <= int64(d.problem.Limits.Rows) {
			continue
		}
		rows := d.problem.Loads.Rows[r.Expert*leaves:]
		if n := sum(rows[r.First:r.End]); n > largest {
			expert, largest = r.Expert, n
		}
	}
	return expert
}

// runsOf is where the runs of an expert are among those of all.
func runsOf(runs []alltoall.Run, e int) (begin, end int) {
	for begin < len(runs) && runs[begin].Expert < e {
		begin++
	}
	for end = begin; end < len(runs) && runs[end].Expert == e; end++ {
	}
	return begin, end
}

// result returns the runs in memory of the caller's.
func (d *draft) result() alltoall.Allocation {
	if len(d.runs) == 0 {
		return nil
	}
	return slices.Clone(alltoall.Allocation(d.runs))
}
