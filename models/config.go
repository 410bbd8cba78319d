package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
)

// maxConfig is the largest config.json that is read.
const maxConfig = 16 << 20

// config is the keys of a config.json. Its getters take the first of the names that there is, else
// the default, and collect what is wrong.
type config struct {
	values map[string]json.RawMessage
	faults []error
	// holds tells whether the checkpoint has a tensor whose name ends so.
	holds func(end string) bool
}

// stacked tells whether the checkpoint has a tensor whose name ends so.
func (c *config) stacked(end string) bool { return c.holds != nil && c.holds(end) }

// readConfig reads the config.json of a folder.
func readConfig(dir string) (*config, error) {
	path := filepath.Join(dir, configFile)
	file, err := os.Open(path)
	if err != nil {
		return nil, errtext.Errorf("models: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("has more than %d bytes", maxConfig)
	}
	c := &config{}
	if err == nil {
		c, err = parseConfig(text)
	}
	if err != nil {
		return nil, errtext.Errorf("models: %s: %w", path, err)
	}
	return c, nil
}

// parseConfig reads the text of a config.json. Keys of a text model inside a multimodal one are
// taken from there.
func parseConfig(text []byte) (*config, error) {
	c := &config{}
	if err := json.Unmarshal(text, &c.values); err != nil {
		return nil, err
	}
	if inner := c.sub("text_config"); len(inner.values) > 0 {
		if !inner.has("model_type") {
			inner.values["model_type"] = c.values["model_type"]
		}
		c = inner
	}
	return c, errors.Join(c.faults...)
}

func (c *config) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("config.json: "+format, args...))
}

// err returns what is wrong with the keys that were read.
func (c *config) err() error { return errors.Join(c.faults...) }

// find returns the first of the names that has a value, and its value.
func (c *config) find(names ...string) (string, json.RawMessage) {
	for _, name := range names {
		if raw, ok := c.values[name]; ok && !bytes.Equal(raw, []byte("null")) {
			return name, raw
		}
	}
	return "", nil
}

func (c *config) has(names ...string) bool {
	name, _ := c.find(names...)
	return name != ""
}

// get reads the first of the names that there is into v, and tells whether there is one.
func (c *config) get(v any, want string, names ...string) bool {
	name, raw := c.find(names...)
	if name == "" {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		c.fault("%s is %s, want %s", name, printable.Text(string(raw), 64), want)
		return false
	}
	return true
}

// size returns a number from 0 to the largest size.
func (c *config) size(def int, names ...string) int {
	v := def
	if c.get(&v, "a whole number", names...) {
		if err := check.Size(v, 0); err != nil {
			name, _ := c.find(names...)
			c.fault("%s is %w", name, err)
			return def
		}
	}
	return v
}

// need is size of what has no default and is at least 1.
func (c *config) need(names ...string) int {
	if !c.has(names...) {
		c.fault("%s is missing", strings.Join(names, " or "))
		return 1
	}
	if v := c.size(0, names...); v > 0 {
		return v
	}
	c.fault("%s is below 1", strings.Join(names, " or "))
	return 1
}

func (c *config) number(def float64, names ...string) float32 {
	v := def
	c.get(&v, "a number", names...)
	if math.Abs(v) > math.MaxFloat32 {
		c.fault("%s is %v, want a number of float32", names[0], v)
		return float32(def)
	}
	return float32(v)
}

func (c *config) flag(def bool, names ...string) bool {
	v := def
	c.get(&v, "true or false", names...)
	return v
}

func (c *config) text(def string, names ...string) string {
	v := def
	c.get(&v, "a string", names...)
	return v
}

func (c *config) texts(names ...string) []string {
	var v []string
	c.get(&v, "a list of strings", names...)
	return v
}

func (c *config) sizes(names ...string) []int {
	var v []int
	c.get(&v, "a list of whole numbers", names...)
	return v
}

// sub returns the keys of an object in the configuration; none if it is not there.
func (c *config) sub(name string) *config {
	inner := &config{values: map[string]json.RawMessage{}}
	c.get(&inner.values, "an object", name)
	return inner
}

// list tells whether the first of the names that there is has a list.
func (c *config) list(names ...string) bool {
	_, raw := c.find(names...)
	return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("["))
}

// sizeOf is need of what may be a list with a number for each layer.
func (c *config) sizeOf(layer int, names ...string) int {
	if !c.list(names...) {
		return c.need(names...)
	}
	list := c.sizes(names...)
	if layer >= len(list) || list[layer] < 1 || list[layer] > check.MaxSize {
		c.fault("%s has no number from 1 for layer %d", strings.Join(names, " or "), layer)
		return 1
	}
	return list[layer]
}

// only notes a fault unless the key is missing or has one of the values that are supported.
func (c *config) only(name string, values ...string) {
	if v := c.text(values[0], name); !slices.Contains(values, v) {
		c.unsupported("%s %q", name, printable.Text(v, 64))
	}
}

// unsupported notes that the library does not have what a model needs.
func (c *config) unsupported(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%w: "+format, append([]any{ErrUnsupported}, args...)...))
}

// layers is the number of layers.
func (c *config) layers() int {
	n := c.need("num_hidden_layers", "n_layers", "num_layers")
	if n > maxLayers {
		c.fault("%d layers, want at most %d", n, maxLayers)
		return 0
	}
	return n
}

// maxLayers is far more layers than a model has.
const maxLayers = 1 << 14
