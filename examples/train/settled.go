package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/checkpoint"
)

// freeFlags are those that may differ between a run and one that goes on with it: they say where
// and how it runs and what it tells, not what parameters it ends with. (With -compress or -sums
// they decide on those too.)
var freeFlags = []string{
	"ranks", "transport", "lanes", "parity", "insecure", "link", "algorithm", "node-ranks", "overlap", "overlap-auto", "gradient-piece", "share-experts",
	"stop-after", "save", "save-every", "save-limit", "save-local", "keep", "resume", "init",
	"json", "svg", "trace", "record", "progress", "eval-every", "eval-batches", "sample", "temperature", "top-p", "estimate",
}

// textFlag names the text, which counts by what it says and not by where it is.
const textFlag = "text"

// settled is what a checkpoint says of the run that saved it: the flags that decide on the result.
func (t *trainer) settled() map[string]string {
	m := maps.Clone(t.options.fixed)
	m[textFlag] = "sha256:" + t.textDigest
	return m
}

// fits returns an error if a checkpoint is of a run with other flags than this one. A flag that the
// run did not know had its default.
func (t *trainer) fits(info checkpoint.Info) error {
	mine := t.settled()
	had := maps.Clone(t.options.defaults)
	maps.Copy(had, info.Metadata)
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(had)) {
		here, known := mine[name]
		if !known {
			here = "unknown"
		}
		if had[name] != here {
			faults = append(faults, fmt.Sprintf("-%s was %s and is %s", name, had[name], here))
		}
	}
	if info.Step > t.options.steps {
		faults = append(faults, fmt.Sprintf("-steps is %d, and it has taken %d", t.options.steps, info.Step))
	}
	if len(faults) == 0 {
		return nil
	}
	return errors.New("the run that saved it had other flags: " + strings.Join(faults, "; "))
}
