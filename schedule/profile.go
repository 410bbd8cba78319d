package schedule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

// profileVersion is the version of a profile's file.
const profileVersion = 1

// profileLimit is the largest file that is taken for a profile, in bytes.
const profileLimit = 1 << 20

// Profile is the measured cost of operations on one machine and its links.
type Profile struct {
	// Machine says where it was measured, in the caller's words: a profile of another machine is of no use.
	Machine string
	// Fits holds the line of each operation that was measured.
	Fits map[Op]Fit
}

// profileFile is a profile as JSON.
type profileFile struct {
	Version    int            `json:"version"`
	Machine    string         `json:"machine"`
	Operations map[string]Fit `json:"operations"`
}

// Costs returns the profile as costs; operations that were not measured cost nothing.
func (p *Profile) Costs() *Costs {
	var c Costs
	for op, f := range p.Fits {
		c[op] = f.Linear
	}
	return &c
}

// Validate reports every line that measurements cannot have given.
func (p *Profile) Validate() error {
	var faults []error
	for op, f := range p.Fits {
		if op >= Ops {
			faults = append(faults, fmt.Errorf("schedule: profile of %v: there is no such operation", op))
		}
		for _, v := range []struct {
			name  string
			value float64
		}{{"alpha", f.Alpha}, {"beta", f.Beta}, {"least", f.Least}, {"most", f.Most}, {"r2", f.R2}} {
			if !(v.value >= 0) || math.IsInf(v.value, 0) {
				faults = append(faults, fmt.Errorf("schedule: profile of %v: %s is %v; must not be negative", op, v.name, v.value))
			}
		}
		if f.R2 > 1 || f.Samples < 2 || f.Least >= f.Most {
			faults = append(faults, fmt.Errorf("schedule: profile of %v: r2 %v of %d samples, sizes %v to %v; must be at most 1, of at least 2, of two sizes",
				op, f.R2, f.Samples, f.Least, f.Most))
		}
	}
	return errors.Join(faults...)
}

// Encode writes the profile as JSON.
func (p *Profile) Encode(w io.Writer) error {
	if err := p.Validate(); err != nil {
		return err
	}
	file := profileFile{Version: profileVersion, Machine: p.Machine, Operations: make(map[string]Fit, len(p.Fits))}
	for op, f := range p.Fits {
		file.Operations[op.String()] = f
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(file)
}

// DecodeProfile reads what Encode wrote. Anything else is an error: another version, unknown fields or operations, numbers
// that Validate refuses, more after the end.
func DecodeProfile(r io.Reader) (*Profile, error) {
	limited := &io.LimitedReader{R: r, N: profileLimit + 1}
	d := json.NewDecoder(limited)
	d.DisallowUnknownFields()
	var file profileFile
	if err := d.Decode(&file); err != nil {
		return nil, errtext.Errorf("schedule: not a profile: %w", err)
	}
	if _, err := d.Token(); err != io.EOF || limited.N <= 0 {
		return nil, fmt.Errorf("schedule: not a profile: more than one value, or more than %d bytes", profileLimit)
	}
	if file.Version != profileVersion {
		return nil, fmt.Errorf("schedule: profile of version %d; this program reads version %d: measure anew", file.Version, profileVersion)
	}
	p := &Profile{Machine: file.Machine, Fits: make(map[Op]Fit, len(file.Operations))}
	for name, f := range file.Operations {
		op, ok := OpNamed(name)
		if !ok {
			return nil, fmt.Errorf("schedule: profile of %q: there is no such operation", name)
		}
		p.Fits[op] = f
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return p, nil
}

// Save writes the profile to a file: wholly, or not at all.
func (p *Profile) Save(path string) error { return outfile.Write(path, p.Encode) }

// LoadProfile reads a file that Save wrote.
func LoadProfile(path string) (*Profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	p, err := DecodeProfile(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}
