package checkpoint

import (
	"io"
	"path/filepath"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
	"github.com/switchyard-moe/switchyard/param"
)

// complete writes the indexes, the model's last, if this rank does that for its folder. all is what
// the ranks have written.
func (j *job) complete(all []manifest) error {
	if !j.leader {
		return nil
	}
	indexes, err := j.indexes(all)
	if err != nil {
		return err
	}
	for _, role := range []param.Role{param.Training, param.Parameter} {
		if len(indexes[role].WeightMap) == 0 {
			continue
		}
		text, err := indexes[role].JSON()
		if err != nil {
			return err
		}
		err = writeWhole(j.saver.create, filepath.Join(j.folder, indexNames[role]), func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		})
		if err != nil {
			return err
		}
		if err := syncFolder(j.folder); err != nil {
			return err
		}
	}
	return nil
}

// indexes are those of the model and of what training needs.
func (j *job) indexes(all []manifest) (indexes [roles]safetensors.Index, err error) {
	writer := map[string]int{}
	var faults faultList
	for role := range roles {
		x := &indexes[role]
		x.WeightMap = map[string]string{}
		m := metadata{Format: format, Step: j.step, Ranks: len(all), Sums: map[string]checksum{}, Program: all[0].Program}
		for r, rank := range all {
			for _, t := range rank.Tensors[role] {
				if first, twice := writer[t.Name]; twice {
					faults.add("tensor %.200q is written by rank %d and by rank %d", t.Name, first, r)
				}
				writer[t.Name] = r
				x.WeightMap[t.Name], m.Sums[t.Name] = j.names[r][role], t.Sum
				x.TotalParameters, x.TotalSize = x.TotalParameters+t.Elements, x.TotalSize+t.Bytes
			}
			m.place(j.names[r][role], j.places[r], j.folder)
		}
		if x.Metadata, err = m.fields(); err != nil {
			return indexes, err
		}
	}
	for r, rank := range all {
		for _, name := range rank.Held {
			if _, ok := writer[name]; !ok {
				faults.add("tensor %.200q, which rank %d holds, is written by no rank", name, r)
			}
		}
	}
	return indexes, faults.err("the state cannot be saved")
}
