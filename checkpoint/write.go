package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// job is one save on one rank.
type job struct {
	saver   *Saver
	step    int
	tensors [roles][]tensor // what this rank writes
	held    []string        // names of what others write

	folder string
	names  [][roles]string // of the files, by rank
	places []string        // host:folder of the ranks, empty if they share one
	leader bool            // whether this rank makes, completes and cleans its folder
	kept   []string        // folders that are kept when this one is complete
	left   error           // why interrupted saves could not be removed
}

// copyInto copies what this rank writes into a buffer, which it makes if the given one is too
// small, and returns that.
func (j *job) copyInto(buffer []byte) []byte {
	total := 0
	for _, list := range j.tensors {
		for _, t := range list {
			total += len(t.data)
		}
	}
	if cap(buffer) < total {
		buffer = make([]byte, total)
	}
	rest := buffer[:total]
	for _, list := range j.tensors {
		for i := range list {
			n := copy(rest, list[i].data)
			list[i].data, rest = rest[:n:n], rest[n:]
		}
	}
	return buffer
}

// run writes the checkpoint with the other ranks. After each stage they agree whether to go on. An
// error that is not ErrWrite says that they could not; then what is written stays, since others may
// have completed the checkpoint, and the next save removes it if not.
func (j *job) run(ctx context.Context) error {
	fault, err := j.stage(ctx, j.prepare)
	if fault == nil && err == nil {
		fault, err = j.writeAndComplete(ctx)
	}
	if fault == nil && err == nil {
		return j.prune(ctx)
	}
	var removal error
	if err == nil {
		removal, err = j.stage(ctx, j.remove)
	}
	if err != nil {
		j.saver.broken = err
		return err
	}
	return errtext.Errorf("checkpoint: %w: step %d: %w", ErrWrite, j.step, errors.Join(fault, removal))
}

// stage does something on each rank. fault is the error of a rank, the same on all of them; err
// says that they could not speak.
func (j *job) stage(ctx context.Context, do func() error) (fault, err error) {
	var mine error
	if err := j.saver.ranks.busy(ctx, "Save", func(context.Context) { mine = do() }); err != nil {
		return nil, err
	}
	return j.saver.ranks.agree(ctx, "Save", mine)
}

// prepare makes the folder, and removes what interrupted saves have left beside it. What cannot be
// removed does not keep the job from saving.
func (j *job) prepare() error {
	if !j.leader {
		return nil
	}
	if err := makeFolder(j.saver.cfg.Dir); err != nil {
		return err
	}
	j.left = clean(j.saver.cfg.Dir)
	if isLink(j.folder) { // to a checkpoint of others, perhaps
		return fmt.Errorf("%s is in the way, and no folder", j.folder)
	}
	return makeFolder(j.folder)
}

func (j *job) writeAndComplete(ctx context.Context) (fault, err error) {
	var mine manifest
	if err := j.saver.ranks.busy(ctx, "Save", func(ctx context.Context) { mine, fault = j.write(ctx) }); err != nil {
		return nil, err
	}
	mine.said = saying(fault)
	all, err := gather(ctx, j.saver.ranks, "Save", mine, maxManifest)
	if err != nil {
		return nil, err
	}
	if fault := firstFault(j.saver.ranks, "Save", fault, all); fault != nil {
		return fault, nil
	}
	return j.stage(ctx, func() error { return j.complete(all) })
}

// remove removes what a failed save has written. No rank writes any more.
func (j *job) remove() error {
	if !j.leader {
		return nil
	}
	return removeFolder(j.folder)
}

// manifest is what a rank has written, and what it expects of others.
type manifest struct {
	said
	Tensors [roles][]written
	Held    []string
	Program map[string]string // Config.Metadata, of rank 0 only: all indexes have the same
}

// written is a tensor in a file.
type written struct {
	Name     string   `json:"n"`
	Sum      checksum `json:"c"`
	Bytes    int64    `json:"b"`
	Elements int64    `json:"e"`
}

// write writes this rank's files.
func (j *job) write(ctx context.Context) (m manifest, err error) {
	m.Held = j.held
	if j.saver.ranks.rank() == 0 {
		m.Program = j.saver.cfg.Metadata
	}
	p := pace{rate: j.saver.cfg.BytesPerSecond, flush: j.saver.flush}
	for role, name := range j.names[j.saver.ranks.rank()] {
		if name == "" {
			continue
		}
		err := writeWhole(j.saver.create, filepath.Join(j.folder, name), func(w io.Writer) (err error) {
			m.Tensors[role], err = j.writeTensors(ctx, w, &p, role)
			return err
		})
		if err != nil {
			return m, err
		}
	}
	return m, syncFolder(j.folder)
}

// planned plans the file of a role, and returns its tensors in the order of the plan.
func (j *job) planned(role int) (*safetensors.Plan, []tensor, error) {
	byName := make(map[string]tensor, len(j.tensors[role]))
	described := make([]safetensors.Tensor, len(j.tensors[role]))
	for i, t := range j.tensors[role] {
		byName[t.name] = t
		described[i] = safetensors.Tensor{Name: t.name, DType: t.dtype, Shape: t.shape}
	}
	p, err := safetensors.NewPlan(fileMetadata(j.step), described)
	if err != nil {
		return nil, nil, err
	}
	ordered := make([]tensor, len(described))
	for i, t := range p.Tensors() {
		ordered[i] = byName[t.Name]
	}
	return p, ordered, nil
}

// writeTensors writes the file of a role, and returns what is in it.
func (j *job) writeTensors(ctx context.Context, out io.Writer, p *pace, role int) ([]written, error) {
	plan, tensors, err := j.planned(role)
	if err != nil {
		return nil, err
	}
	w, err := safetensors.NewWriter(out, plan)
	if err != nil {
		return nil, err
	}
	var list []written
	for i, t := range plan.Tensors() {
		for piece := range slices.Chunk(tensors[i].data, pieceBytes) {
			if err := p.wait(ctx, len(piece)); err != nil {
				return nil, err
			}
			if err := w.Write(t.Name, piece); err != nil {
				return nil, err
			}
		}
		sum, _ := w.Checksum(t.Name)
		n, _ := elements(t.Shape)
		list = append(list, written{t.Name, checksum(sum), t.Bytes, int64(n)})
	}
	return list, w.Close()
}

// prune removes old checkpoints, once the new one is complete on all ranks.
func (j *job) prune(ctx context.Context) error {
	fault, err := j.stage(ctx, func() error {
		if cfg := j.saver.cfg; j.leader {
			return errors.Join(j.left, prune(cfg.Dir, j.kept, cfg.Keep == 0))
		}
		return nil
	})
	if err != nil {
		j.saver.broken = err
		return err
	}
	if fault != nil {
		return errtext.Errorf("checkpoint: %w: step %d is saved, but an older one could not be removed: %w", ErrWrite, j.step, fault)
	}
	return nil
}
