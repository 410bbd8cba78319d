package checkpoint

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Report says what [Verify] has found in the folder of a checkpoint.
type Report struct {
	// Step and Ranks are those of the save, 0 for files of another program.
	Step, Ranks int
	// Metadata are the strings of Config.Metadata.
	Metadata map[string]string
	// Tensors are in the order of their names.
	Tensors []Tensor
	// Absent are files that were written into folders of other hosts, with host:folder. Their
	// tensors are not in Tensors.
	Absent map[string]string
}

// Tensor is one tensor of a checkpoint.
type Tensor struct {
	// Name is the name, File the file in the folder.
	Name, File string
	// DType is the type of the elements, and Shape the dimensions, slowest first.
	DType safetensors.DType
	Shape []int
	// Bytes is the number of bytes.
	Bytes int64
	// Checksum is the CRC-32C of the bytes, as they are.
	Checksum uint32
}

// Verify reads the whole of one checkpoint, or of another folder that [Load] takes, and compares it
// with its indexes. The error lists every damage: files and tensors that are missing or cannot be
// read, tensors that no index has, and checksums. The report has what could be read. Files of
// another program have no checksums to compare.
func Verify(path string) (Report, error) {
	s, err := openSource(path)
	if err != nil {
		return Report{}, errtext.Errorf("checkpoint: %w", err)
	}
	v := verifier{source: s, report: Report{Step: s.step, Ranks: s.ranks, Metadata: s.program, Absent: map[string]string{}}}
	for _, file := range slices.Compact(slices.Sorted(maps.Values(s.files))) {
		if err := v.look(file); err != nil {
			v.faults.add("%v", err)
		}
	}
	slices.SortFunc(v.report.Tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	return v.report, v.faults.err("the checkpoint " + path + " is damaged")
}

// verifier collects what is in a checkpoint.
type verifier struct {
	source *source
	report Report
	faults faultList
}

// look reads a file. One that is not there is no damage if it was written elsewhere.
func (v *verifier) look(file string) error {
	f, err := v.source.open(file)
	if place := v.source.places[file]; errors.Is(err, fs.ErrNotExist) && place != "" && !here(place, v.source.path) {
		v.report.Absent[file] = place
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for _, t := range f.Tensors() {
		v.check(f, file, t)
	}
	for name, in := range v.source.files {
		if _, ok := f.Lookup(name); in == file && !ok {
			v.faults.add("tensor %.200q is not in %s, where the index has it", name, file)
		}
	}
	return nil
}

// check reads a tensor and compares it with the index.
func (v *verifier) check(f *safetensors.File, file string, t safetensors.Tensor) {
	if in := v.source.files[t.Name]; in != file {
		v.faults.add("tensor %.200q is in %s, which the index does not say", t.Name, file)
		return
	}
	sum, err := f.Checksum(t.Name)
	if err != nil {
		v.faults.add("%v", err)
		return
	}
	v.report.Tensors = append(v.report.Tensors, Tensor{t.Name, file, t.DType, t.Shape, t.Bytes, sum})
	if err := v.source.checkSum(t.Name, sum); err != nil {
		v.faults.add("%v", err)
	}
}
