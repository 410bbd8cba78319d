package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// ErrUnusable is beneath the error of a load that has failed when part of the state was already
// overwritten. On no rank may the parts be used before another load has succeeded.
var ErrUnusable = errors.New("the state is overwritten in part and must not be used")

// ErrDamaged is beneath the error about a tensor whose bytes are not those that were saved.
var ErrDamaged = errors.New("the checksum is wrong")

// Info says what was loaded.
type Info struct {
	// Path is the folder of the checkpoint, and Step the step after which it was saved by Ranks
	// ranks. Files of another program have 0 of each.
	Path        string
	Step, Ranks int
	// Metadata are the strings of Config.Metadata.
	Metadata map[string]string
	// Tensors and Bytes count what this rank has read.
	Tensors int
	Bytes   int64
}

// Load reads a checkpoint into the memory of the parts. Every rank calls it with the parts that it
// holds, whatever number of ranks has saved it and wherever experts were. dir is the folder of
// Config.Dir, of which the latest complete checkpoint is taken; or the folder of one checkpoint; or
// one of Hugging Face layout, with an index or a single model.safetensors; or a single file. If
// there is none the error is [ErrNone], but not for a folder with the name of a step.
//
// All ranks first compare all names, shapes and types. An error then lists every fault, the same
// ones on each rank, and nothing has changed. An error after that, as of a checksum, is
// [ErrUnusable] on all ranks. Beyond the state itself a rank needs memory for the names in the
// indexes only.
func Load(ctx context.Context, world *switchyard.World, dir string, o Options, parts ...Part) (Info, error) {
	return (&load{options: o, parts: parts}).run(ctx, world, dir)
}

func (l *load) run(ctx context.Context, world *switchyard.World, dir string) (Info, error) {
	var err error
	if l.ranks, err = newRanks(world); err != nil {
		return Info{}, errtext.Errorf("checkpoint: Load: %w", err)
	}
	if err := l.choose(ctx, dir); err != nil {
		return Info{}, err
	}
	p, err := l.check(ctx)
	if err != nil {
		return Info{}, err
	}
	for _, stage := range []func(context.Context) error{p.read, func(context.Context) error { return l.loaded() }} {
		var mine, fault error
		err := l.ranks.busy(ctx, "Load", func(ctx context.Context) { mine = stage(ctx) })
		if err == nil {
			fault, err = l.ranks.agree(ctx, "Load", mine)
		}
		if err = errors.Join(fault, err); err != nil {
			return Info{}, errtext.Errorf("checkpoint: %s: %w: %w", l.path, ErrUnusable, err)
		}
	}
	info := l.info(p.source)
	info.Tensors, info.Bytes = p.tensors, p.bytes
	return info, nil
}

// load is one call of Load, or of LoadExperts.
type load struct {
	ranks   ranks
	options Options
	parts   []Part
	experts *expertSources // of LoadExperts
	path    string         // of the checkpoint
}

func (l *load) info(s *source) Info {
	return Info{Path: l.path, Step: s.step, Ranks: s.ranks, Metadata: s.program}
}

// candidates is what a rank says of the folder to load from.
type candidates struct {
	said
	Same     string   // what all ranks give alike
	Lists    bool     // whether it has looked
	Itself   bool     // the folder, or file, is a checkpoint
	Complete []string // else the folders of steps in it
}

// choose has the ranks agree on a checkpoint.
func (l *load) choose(ctx context.Context, dir string) error {
	mine, fault := candidates{Same: l.same()}, l.options.Validate()
	if mine.Lists = l.options.Local || l.ranks.rank() == 0; mine.Lists && fault == nil {
		fault = mine.look(dir)
	}
	mine.said = saying(fault)
	all, err := gather(ctx, l.ranks, "Load", mine, maxShort)
	if err != nil {
		return err
	}
	if err := firstFault(l.ranks, "Load", fault, all); err != nil {
		return err
	}
	for r, c := range all {
		if c.Same != all[0].Same {
			return l.ranks.fault("Load", r, fmt.Errorf("%w: it has %s, and rank 0 %s", transport.ErrMismatch,
				printable.Text(c.Same, 300), printable.Text(all[0].Same, 300)))
		}
	}
	name, ok := chosen(all)
	if !ok {
		return errtext.Errorf("checkpoint: %s: %w", dir, ErrNone)
	}
	l.path = filepath.Join(dir, name)
	return nil
}

// same is what has to be the same on all ranks: what each of them decides by itself follows from
// it.
func (l *load) same() string {
	if l.experts != nil {
		return fmt.Sprintf("experts %v", l.experts.sources)
	}
	return fmt.Sprintf("AllowExtra=%q", l.options.AllowExtra)
}

func (c *candidates) look(dir string) (err error) {
	if dir == "" {
		return errors.New("checkpoint: Load: dir is empty, want a folder")
	}
	if c.Itself = isCheckpoint(dir); c.Itself {
		return nil
	}
	if _, _, ok := parseFolder(filepath.Base(dir)); ok { // not ErrNone: somebody wants this one
		return errtext.Errorf("checkpoint: %s has no checkpoint, or one that is incomplete", dir)
	}
	c.Complete, err = completeIn(dir)
	return err
}

// isCheckpoint tells whether path is a checkpoint, and no folder of checkpoints.
func isCheckpoint(path string) bool {
	for _, name := range []string{"", modelIndex, singleFile} {
		if info, err := os.Stat(filepath.Join(path, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// chosen is the name of the folder that all take, "" for the one that was given.
func chosen(all []candidates) (name string, ok bool) {
	var lists [][]string
	itself := true
	for _, c := range all {
		if c.Lists {
			lists, itself = append(lists, c.Complete), itself && c.Itself
		}
	}
	if itself {
		return "", true
	}
	common := inAll(lists)
	if len(common) == 0 {
		return "", false
	}
	return common[len(common)-1], true
}

// opened is what a rank says of the indexes.
type opened struct {
	said
	Digest uint32
}

// found is what a rank says of its entries.
type found struct {
	Faults []string
	Count  int
	Used   []byte
	Held   []int // of the experts of LoadExperts
}

// check reads the indexes and the headers, and compares them with the entries of all ranks.
func (l *load) check(ctx context.Context) (*plan, error) {
	tensors, _, fault := tensorsOf(l.parts)
	s, err := openSource(l.path)
	if err == nil && l.options.Check != nil {
		err = l.options.Check(l.info(s))
	}
	fault = errors.Join(fault, err)
	mine := opened{said: saying(fault)}
	if fault == nil {
		mine.Digest = s.digest
	}
	all, err := gather(ctx, l.ranks, "Load", mine, maxShort)
	if err != nil {
		return nil, err
	}
	if err := firstFault(l.ranks, "Load", fault, all); err != nil {
		return nil, err
	}
	for r, o := range all {
		if o.Digest != all[0].Digest {
			return nil, l.ranks.fault("Load", r, fmt.Errorf("%w: its index is not that of rank 0; ranks that share no files need Options.Local", transport.ErrMismatch))
		}
	}
	old := l.old() // Make changes what is current
	made, fault := l.options.late(s, l.parts, tensors)
	p := newPlan(s, append(tensors, made...), l.options)
	if fault != nil {
		p.faults.add("%v", fault)
	}
	if p.keeps || l.experts != nil {
		for _, err := range old {
			p.faults.add("%v", err)
		}
	}
	return p, l.compare(ctx, p)
}

// old returns an error for each part whose numbers are not those of now. If the load leaves their
// entries as they are, Loaded would set old numbers.
func (l *load) old() (faults []error) {
	for _, part := range l.parts {
		if part.State.Current == nil {
			continue
		}
		if err := part.State.Current(); err != nil {
			faults = append(faults, fmt.Errorf("part %.200q: %w", part.Name, err))
		}
	}
	return faults
}

// compare returns an error with the faults of all ranks.
func (l *load) compare(ctx context.Context, p *plan) error {
	mine := found{Faults: p.faults.texts, Count: p.faults.count, Used: p.used}
	if l.experts != nil {
		mine.Held = l.experts.held
	}
	all, err := gather(ctx, l.ranks, "Load", mine, maxManifest)
	if err != nil {
		return err
	}
	lists, used := make([]faultList, len(all)), make([]byte, len(p.used))
	for r, f := range all {
		if len(f.Used) != len(used) {
			return l.ranks.fault("Load", r, fmt.Errorf("%w: %d bytes, want %d", transport.ErrProtocol, len(f.Used), len(used)))
		}
		for i, b := range f.Used {
			used[i] |= b
		}
		lists[r] = faultList{f.Faults, f.Count}
	}
	faults := merged(lists)
	if l.experts != nil {
		l.experts.check(&faults, all)
	} else {
		extra(&faults, p.source, used, l.options)
	}
	return faults.err("the checkpoint " + l.path + " does not fit, and nothing is loaded")
}

// read fills the entries. It ends at the first fault.
func (p *plan) read(ctx context.Context) error {
	for _, file := range slices.Sorted(maps.Keys(p.files)) {
		if err := p.readFile(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) readFile(ctx context.Context, file string) error {
	f, err := p.source.open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for _, t := range p.files[file] {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		sum, err := f.ReadInto(t.from, t.data)
		if err != nil {
			return err
		}
		if err := p.source.checkSum(t.from, sum); err != nil {
			return err
		}
	}
	return nil
}

// loaded tells the parts that their entries are filled.
func (l *load) loaded() error {
	for _, part := range l.parts {
		if part.State.Loaded == nil {
			continue
		}
		if err := part.State.Loaded(); err != nil {
			return fmt.Errorf("part %q: %w", part.Name, err)
		}
	}
	return nil
}
