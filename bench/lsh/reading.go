package lsh

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// readRows reads what -json has written.
func readRows(file string) (rows []row, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var r row
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, len(rows)+1, err)
		}
		rows = append(rows, r)
	}
}

// readAll reads several files, separated by commas, and puts together what they have of seeds and
// of times. Rows of a file that has neither a seed nor a task stay as they are.
func readAll(files string) (rows []row, err error) {
	for _, file := range strings.Split(files, ",") {
		more, err := readRows(file)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("-in %s: no line of what -json writes", files)
	}
	m := &measured{options: new(options)}
	for _, r := range rows {
		m.read(r)
	}
	if len(m.groups) == 0 {
		return rows, nil
	}
	return m.rows(), nil
}

// read takes in a row.
func (m *measured) read(r row) {
	if !slices.ContainsFunc(m.variants, func(v variant) bool { return v.name == r.Variant }) {
		m.variants = append(m.variants, variantOf(r))
	}
	if r.Seed > 0 {
		g := group{r.Task, r.Rows}
		m.keep(g, r.Variant, r.Seed, outcome{r.Loss, r.LossTrained, r.LossStart, r.BytesRatio})
	}
	if r.Seed == 0 && r.Step > 0 {
		m.time(r.Link, r.Variant, timing{r.Step, r.Share, r.Wire})
	}
}

// variantOf is the variant of a row, which may be of a list that had others.
func variantOf(r row) variant {
	for _, v := range variants() {
		if v.name == r.Variant {
			return v
		}
	}
	if v, err := longer(r.Variant); err == nil {
		return v
	}
	return variant{name: r.Variant, rate: r.Rate, times: 1}
}
