package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// roles is the number of roles of tensors. Those of one role share files and an index.
const roles = 2

// intent is what each rank says before a save.
type intent struct {
	said
	Step     int
	Local    bool
	Writes   [roles]bool // whether it has tensors to write, by role
	Place    string      // host:folder of its Dir, if Dirs are local
	Lists    bool        // whether Complete is the list of its Dir
	Complete []string
}

// begin has the ranks agree on a save, before anything is copied or written.
func (s *Saver) begin(ctx context.Context, step int, parts []Part) (*job, error) {
	mine := intent{Step: step, Local: s.cfg.Local}
	j := &job{saver: s, step: step}
	fault := errors.Join(j.take(parts), mine.look(s.cfg, s.ranks.rank()))
	if step < 0 {
		fault = errors.Join(fault, fmt.Errorf("step is %d, want at least 0", step))
	}
	for role := range roles {
		mine.Writes[role] = len(j.tensors[role]) > 0
	}
	mine.said = saying(fault)
	all, err := gather(ctx, s.ranks, "Save", mine, maxShort)
	if err != nil {
		s.broken = err
		return nil, err
	}
	if err := firstFault(s.ranks, "Save", fault, all); err != nil {
		return nil, err
	}
	if err := s.compare(all); err != nil {
		return nil, err
	}
	return j, j.decide(all)
}

// look finds out what is in this rank's folder, and where that is.
func (m *intent) look(cfg Config, rank int) (err error) {
	if m.Lists = cfg.Local || rank == 0; m.Lists {
		if isCheckpoint(cfg.Dir) {
			return errtext.Errorf("checkpoint: Config.Dir %s is a checkpoint itself: a load would take it, not the steps in it", cfg.Dir)
		}
		m.Complete, err = completeIn(cfg.Dir)
	}
	if cfg.Local && err == nil {
		m.Place, err = placeOf(cfg.Dir)
	}
	return err
}

// compare returns an error if ranks mean other saves. It is the same on all of them.
func (s *Saver) compare(all []intent) error {
	for r, m := range all {
		if m.Step != all[0].Step || m.Local != all[0].Local {
			return s.ranks.fault("Save", r, fmt.Errorf("%w: it saves step %d with Config.Local=%t, rank 0 step %d with %t",
				transport.ErrMismatch, m.Step, m.Local, all[0].Step, all[0].Local))
		}
	}
	return nil
}

// take makes the lists of what this rank writes and of what it leaves to others.
func (j *job) take(parts []Part) error {
	list, writer, err := tensorsOf(parts)
	for _, p := range parts {
		if p.State != nil && p.State.Current != nil {
			err = errors.Join(err, p.State.Current())
		}
	}
	for i, t := range list {
		if !writer[i] {
			j.held = append(j.held, t.name)
			continue
		}
		j.tensors[t.role] = append(j.tensors[t.role], t)
	}
	return err
}

// decide names the folder and the files of the save, from what all ranks have said.
func (j *job) decide(all []intent) error {
	cfg, me := j.saver.cfg, j.saver.ranks.rank()
	var lists [][]string
	for _, m := range all {
		if m.Lists {
			lists = append(lists, m.Complete)
		}
		j.places = append(j.places, m.Place)
	}
	if !slices.ContainsFunc(all, func(m intent) bool { return m.Writes[param.Parameter] }) {
		return errors.New("checkpoint: Save: no rank has a parameter to write")
	}
	complete := inAll(lists)
	if n := len(complete); n > 0 && stepOf(complete[n-1]) > j.step {
		return fmt.Errorf("checkpoint: Save: step %d is before step %d, which %s has and from which a job would go on: "+
			"remove it or save into another folder", j.step, stepOf(complete[n-1]), cfg.Dir)
	}
	name := folderName(j.step, nextRevision(j.step, lists))
	j.folder = filepath.Join(cfg.Dir, name)
	j.kept = lastSteps(append(complete, name), cfg.Keep)
	j.leader = slices.Index(j.places, j.places[me]) == me
	j.names = fileNames(all)
	return nil
}

// fileNames returns the names of the files by rank and role. A rank that has nothing to write has
// no file.
func fileNames(all []intent) [][roles]string {
	names := make([][roles]string, len(all))
	for role := range roles {
		total, number := 0, 0
		for _, m := range all {
			if m.Writes[role] {
				total++
			}
		}
		for r, m := range all {
			if m.Writes[role] {
				number++
				names[r][role] = fmt.Sprintf("%s-%05d-of-%05d.safetensors", stems[role], number, total)
			}
		}
	}
	return names
}

// stems begin the names of files, by role.
var stems = [roles]string{param.Parameter: "model", param.Training: "training"}
