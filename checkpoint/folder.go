package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Names of the indexes. A folder is complete once it has the model's, which is written last.
const (
	modelIndex    = "model.safetensors.index.json"
	trainingIndex = "training.safetensors.index.json"
)

// indexNames are the names of the indexes by the role of their tensors.
var indexNames = [...]string{modelIndex, trainingIndex}

// ErrNone is beneath the error of a folder without a complete checkpoint.
var ErrNone = errors.New("no complete checkpoint")

// Checkpoint is a folder that [List] has found.
type Checkpoint struct {
	// Path is the folder that holds the files.
	Path string
	// Step is the step after which it was saved.
	Step int
	// Complete tells whether all of it has been written. An incomplete folder is what a job that was
	// ended in the middle of a save or of a removal has left; the next save removes it.
	Complete bool

	revision int
}

// folderName is the name of the folder of a step. A step that is saved again while a checkpoint of
// it exists gets another revision.
func folderName(step, revision int) string {
	name := fmt.Sprintf("step-%08d", step)
	if revision > 0 {
		name += "." + strconv.Itoa(revision)
	}
	return name
}

// parseFolder returns the step and the revision that the name of a folder states.
func parseFolder(name string) (step, revision int, ok bool) {
	digits, found := strings.CutPrefix(name, "step-")
	if !found {
		return 0, 0, false
	}
	first, second, revised := strings.Cut(digits, ".")
	step, err := strconv.Atoi(first)
	if err == nil && revised {
		revision, err = strconv.Atoi(second)
	}
	return step, revision, err == nil && step >= 0 && revision >= 0 && name == folderName(step, revision)
}

// List returns the checkpoints of dir, those that are incomplete included, by ascending steps. A
// folder that does not exist has none. Other files and folders in dir, and links, are left out.
func List(dir string) ([]Checkpoint, error) {
	items, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errtext.Errorf("checkpoint: %w", err)
	}
	var list []Checkpoint
	for _, item := range items {
		step, revision, ok := parseFolder(item.Name())
		if !ok || !item.IsDir() {
			continue
		}
		path := filepath.Join(dir, item.Name())
		complete, err := isComplete(path)
		if err != nil {
			return nil, errtext.Errorf("checkpoint: %w", err)
		}
		list = append(list, Checkpoint{path, step, complete, revision})
	}
	slices.SortFunc(list, func(a, b Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.revision, b.revision))
	})
	return list, nil
}

// Latest returns the complete checkpoint of dir with the highest step. If there is none, or dir
// does not exist, the error is [ErrNone].
func Latest(dir string) (Checkpoint, error) {
	list, err := List(dir)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, c := range slices.Backward(list) {
		if c.Complete {
			return c, nil
		}
	}
	return Checkpoint{}, errtext.Errorf("checkpoint: %s: %w", dir, ErrNone)
}

// isComplete tells whether there is an index, of whatever kind: what is taken for incomplete is
// removed, so an error is not "no".
func isComplete(folder string) (bool, error) {
	_, err := os.Lstat(filepath.Join(folder, modelIndex))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// completeIn returns the names of the complete folders of dir in the order of [List].
func completeIn(dir string) ([]string, error) {
	list, err := List(dir)
	var names []string
	for _, c := range list {
		if c.Complete {
			names = append(names, filepath.Base(c.Path))
		}
	}
	return names, err
}

// removeFolder removes a checkpoint. Its index goes first, so that a removal that is interrupted
// leaves an incomplete folder. A link, which no save makes, stays with what it leads to.
func removeFolder(folder string) error {
	if isLink(folder) {
		return nil
	}
	if err := os.Remove(filepath.Join(folder, modelIndex)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := syncFolder(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(folder)
}

// clean removes the incomplete folders of dir: what saves and removals that were interrupted have
// left.
func clean(dir string) error {
	list, err := List(dir)
	for _, c := range list {
		if !c.Complete {
			err = errors.Join(err, removeFolder(c.Path))
		}
	}
	return err
}

// prune removes the complete folders of dir that are not among those to keep, of which the last is
// the new one, or only earlier revisions of these if all steps are kept. Folders of later steps are
// complete for some ranks only; they stay until the job has come to their steps.
func prune(dir string, keep []string, allSteps bool) error {
	list, err := List(dir)
	newest := stepOf(keep[len(keep)-1])
	for _, c := range list {
		name := filepath.Base(c.Path)
		revised := slices.ContainsFunc(keep, func(k string) bool { return stepOf(k) == c.Step })
		if c.Complete && c.Step <= newest && !slices.Contains(keep, name) && (revised || !allSteps) {
			err = errors.Join(err, removeFolder(c.Path))
		}
	}
	return err
}

// lastSteps returns which of the complete folders, in the order of [List], are to be kept: the last
// revision of each of the last n steps. An n of 0 is all steps.
func lastSteps(complete []string, n int) []string {
	var kept []string
	for i, name := range slices.Backward(complete) {
		revised := i+1 < len(complete) && stepOf(complete[i+1]) == stepOf(name)
		if !revised && (n == 0 || len(kept) < n) {
			kept = append(kept, name)
		}
	}
	slices.Reverse(kept)
	return kept
}

// inAll returns the names that are in each of the lists, in the order of the first.
func inAll(lists [][]string) []string {
	var common []string
	if len(lists) == 0 {
		return nil
	}
	for _, name := range lists[0] {
		if !slices.ContainsFunc(lists, func(l []string) bool { return !slices.Contains(l, name) }) {
			common = append(common, name)
		}
	}
	return common
}

// nextRevision is the first revision of a step that none of the lists has.
func nextRevision(step int, lists [][]string) int {
	next := 0
	for _, name := range slices.Concat(lists...) {
		if s, revision, ok := parseFolder(name); ok && s == step {
			next = max(next, revision+1)
		}
	}
	return next
}

func stepOf(name string) int {
	step, _, _ := parseFolder(name)
	return step
}
