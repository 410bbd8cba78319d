package main

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// flagSet is a flag.FlagSet that collects bad values instead of stopping at the first.
type flagSet struct {
	*flag.FlagSet
	faults []error
}

// values is the value of every flag but some, by name, and the defaults of the same.
func (f *flagSet) values(except ...string) (now, defaults map[string]string) {
	now, defaults = make(map[string]string), make(map[string]string)
	f.VisitAll(func(g *flag.Flag) {
		if !slices.Contains(except, g.Name) {
			now[g.Name], defaults[g.Name] = g.Value.String(), g.DefValue
		}
	})
	return now, defaults
}

// bounded is a flag's value with limits.
type bounded[T int | float64] struct {
	set       *flagSet
	to        *T
	name      string
	low, high T
	wants     string
	scan      func(string) (T, error)
}

func (b *bounded[T]) String() string {
	if b.to == nil {
		return ""
	}
	return fmt.Sprint(*b.to)
}

// Set never fails, so that parsing goes on: it notes the fault.
func (b *bounded[T]) Set(text string) error {
	v, err := b.scan(text)
	if err != nil || !(v >= b.low && v <= b.high) {
		b.set.faults = append(b.set.faults, fmt.Errorf("-%s %s: must be %s from %v to %v", b.name, text, b.wants, b.low, b.high))
		return nil
	}
	*b.to = v
	return nil
}

func integer(f *flagSet, to *int, name string, value, low, high int, help string) {
	*to = value
	f.Var(&bounded[int]{set: f, to: to, name: name, low: low, high: high, wants: "an integer", scan: strconv.Atoi}, name, help)
}

func number(f *flagSet, to *float64, name string, value, low, high float64, help string) {
	*to = value
	f.Var(&bounded[float64]{set: f, to: to, name: name, low: low, high: high, wants: "a number", scan: parseFloat}, name, help)
}

// chosen is a flag's value that is one of some names.
type chosen struct {
	set   *flagSet
	to    *string
	name  string
	names []string
}

func (c *chosen) String() string {
	if c.to == nil {
		return ""
	}
	return *c.to
}

// Set never fails, so that parsing goes on: it notes the fault.
func (c *chosen) Set(text string) error {
	if !slices.Contains(c.names, text) {
		c.set.faults = append(c.set.faults, fmt.Errorf("-%s %s: must be one of %s", c.name, text, strings.Join(c.names, ", ")))
		return nil
	}
	*c.to = text
	return nil
}

// choice declares a flag that has one of some names, the first by default.
func choice(f *flagSet, to *string, name, help string, names ...string) {
	*to = names[0]
	f.Var(&chosen{set: f, to: to, name: name, names: names}, name, help+": "+strings.Join(names, ", "))
}

func parseFloat(text string) (float64, error) { return strconv.ParseFloat(text, 64) }
