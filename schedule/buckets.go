package schedule

import "fmt"

// Bucket is a run of tensors that are sent as one: First and the ones after it, up to but without End.
type Bucket struct {
	First, End int
	Size       int
}

// Buckets fuses neighbouring tensors until each bucket has at least the given size. Tensors stay in order and whole; what is
// left at the end joins the last bucket. Sizes are in elements; it panics if one is negative.
func Buckets(sizes []int, least int) []Bucket {
	var out []Bucket
	open := Bucket{}
	for i, s := range sizes {
		if s < 0 {
			panic(fmt.Sprintf("schedule: tensor %d has size %d; must not be negative", i, s))
		}
		open.End, open.Size = i+1, open.Size+s
		if open.Size >= least {
			out = append(out, open)
			open = Bucket{First: i + 1, End: i + 1}
		}
	}
	switch {
	case open.End == open.First:
	case len(out) == 0:
		out = append(out, open)
	default:
		last := &out[len(out)-1]
		last.End, last.Size = open.End, last.Size+open.Size
	}
	return out
}

// Worthwhile returns the size from which on starting takes at most the given part of the time, 0 < part ≤ 1: the least size of a
// bucket. It is 0 if starting costs nothing or size does.
func (l Linear) Worthwhile(part float64) float64 {
	if !(part > 0 && part <= 1) {
		panic(fmt.Sprintf("schedule: part %v; must be above 0 and at most 1", part))
	}
	if l.Alpha <= 0 || l.Beta <= 0 {
		return 0
	}
	return l.Alpha * (1 - part) / (part * l.Beta)
}
