package checkpoint

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// target is an entry of this rank and the tensor that is to be read into it.
type target struct {
	tensor
	from   string // the tensor's name in the checkpoint
	offset int64  // in its file
}

// plan is what a load of this rank reads.
type plan struct {
	source  *source
	files   map[string][]target // by file
	used    []byte              // a bit for each of the source's names that this rank wants
	faults  faultList
	keeps   bool // whether an entry is left as it is
	tensors int
	bytes   int64
}

// newPlan finds the tensor of each entry, and lists all faults. It changes nothing.
func newPlan(s *source, list []tensor, o Options) *plan {
	names := s.names()
	p := &plan{source: s, files: map[string][]target{}, used: make([]byte, (len(names)+7)/8)}
	for _, t := range list {
		from := o.renamed(t.name)
		file, ok := s.files[from]
		p.keeps = p.keeps || !ok
		if from == "" {
			continue
		}
		if !ok {
			if !isLocal(t.name) && !matches(o.AllowMissing, t.name) {
				p.faults.add("tensor %s is missing", called(t.name, from))
			}
			continue
		}
		i, _ := slices.BinarySearch(names, from)
		p.used[i/8] |= 1 << (i % 8)
		p.files[file] = append(p.files[file], target{tensor: t, from: from})
	}
	for _, file := range slices.Sorted(maps.Keys(p.files)) {
		if err := p.look(file); err != nil {
			p.faults.add("%v", err)
		}
	}
	return p
}

// look compares the entries that are to be read from a file with its header, and sorts them as they
// stand in it.
func (p *plan) look(file string) error {
	f, err := p.source.open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	list := p.files[file]
	for i, t := range list {
		found, ok := f.Lookup(t.from)
		if !ok {
			p.faults.add("tensor %.200q is not in %s, where the index has it", t.from, file)
			continue
		}
		if found.DType != t.dtype || !slices.Equal(found.Shape, t.shape) {
			p.faults.add("tensor %s is %v of shape %v, want %v of shape %v",
				called(t.name, t.from), found.DType, found.Shape, t.dtype, t.shape)
			continue
		}
		list[i].offset = found.Offset
		p.tensors, p.bytes = p.tensors+1, p.bytes+found.Bytes
	}
	slices.SortFunc(list, func(a, b target) int { return cmp.Compare(a.offset, b.offset) })
	return nil
}

// extra adds the tensors that no rank wants to the faults. used has the union of the ranks.
func extra(faults *faultList, s *source, used []byte, o Options) {
	for i, name := range s.names() {
		if used[i/8]&(1<<(i%8)) == 0 && !isLocal(name) && !matches(o.AllowExtra, name) {
			faults.add("tensor %.200q is in the checkpoint, but no rank has an entry for it", name)
		}
	}
}

// called names an entry, and the tensor that it is renamed to.
func called(name, from string) string {
	if name == from {
		return fmt.Sprintf("%.200q", name)
	}
	return fmt.Sprintf("%.200q (%.200q in the checkpoint)", name, from)
}

// localName ends the names of entries that belong to one rank of a world of one size. Others can do
// without.
var localName = regexp.MustCompile(`\.rank-\d{5}-of-\d{5}$`)

func isLocal(name string) bool { return localName.MatchString(name) }
