package balancing

// values are the parameters of an expert for passes that compute rows of it here. The stage's mutex
// guards all but the numbers.
type values struct {
	numbers []float32
	version uint64 // by the count of their home, 0 before they have come
	refs    int    // passes that use it, and the stage if it keeps it
	view    bool   // of the expert's own memory
}

// vector takes a vector for the parameters of an expert, with whatever it holds.
func (s *Stage) vector() []float32 {
	last := len(s.spare) - 1
	if last < 0 {
		return make([]float32, s.numbers)
	}
	v := s.spare[last]
	s.spare[last], s.spare = nil, s.spare[:last]
	return v
}

func (s *Stage) newValues() *values { return &values{numbers: s.vector(), refs: 1} }

// unref notes that a user of v needs it no more.
func (s *Stage) unref(v *values) {
	if v == nil {
		return
	}
	if v.refs--; v.refs == 0 && !v.view {
		s.spare = append(s.spare, v.numbers)
		v.numbers = nil
	}
}

// keep has the stage keep the values of an expert for later passes.
func (s *Stage) keep(expert int, v *values) {
	if old := s.kept[expert]; old != v {
		v.refs++
		s.unref(old)
		s.kept[expert] = v
	}
}

// drop forgets what no pass uses and is not of the experts of this one, if that is more than as
// many slots.
func (s *Stage) drop(p *Pass) {
	idle := 0
	for e, v := range s.kept {
		if v.refs > 1 || p.has(e) {
			continue
		}
		if idle++; idle > s.cfg.Slots {
			s.unref(v)
			delete(s.kept, e)
		}
	}
}

// toOwn gives a run of an expert that is hosted here its values, and notes whether they are to be
// copied yet.
func (s *Stage) toOwn(r *run) {
	if v := s.kept[r.Expert]; v != nil && v.version == s.version {
		v.refs++
		r.values = v
		return
	}
	if list := s.cfg.Experts.Values(s.own(r.Expert)); len(list) == 1 {
		r.values = &values{numbers: list[0], refs: 1, view: true}
	} else {
		r.values, r.stale = s.newValues(), true
	}
	r.values.version = s.version
}

// toReceive gives a run of another rank's expert what the stage keeps, and memory for what may come
// in its place, which no other pass uses.
func (s *Stage) toReceive(r *run) {
	v := s.kept[r.Expert]
	if v == nil {
		r.values = s.newValues()
		r.into = r.values
		return
	}
	r.values, r.into, r.claim = v, v, v.version
	if v.refs++; v.refs > 2 {
		r.into = s.newValues()
	}
}
