package router

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Recorder writes routes to a file, whose format recording.go describes. Each rank has its own.
// Many gates may use it at the same time. It keeps a checksum of each route of a layer's last 64
// steps.
type Recorder struct {
	mu     sync.Mutex
	w      io.Writer
	buf    []byte
	failed error
	seed   maphash.Seed
	layers map[int]*recordedLayer
}

// recordedLayer is what a recorder remembers of a layer.
type recordedLayer struct {
	newest int // step
	sums   map[RouteKey]uint64
}

var errNoRecorder = errors.New("router: the Recorder was not made by NewRecorder")

// keptSteps is how many steps of a layer a recorder remembers.
const keptSteps = 64

// NewRecorder writes the header of a file of routes. The caller closes w after the last route.
func NewRecorder(w io.Writer) (*Recorder, error) {
	head := binary.LittleEndian.AppendUint32([]byte(recordingMagic), recordingVersion)
	if _, err := w.Write(head); err != nil {
		return nil, errtext.Errorf("router: header of a file of routes: %w", err)
	}
	return &Recorder{w: w, seed: maphash.MakeSeed(), layers: map[int]*recordedLayer{}}, nil
}

// Write writes one route, in one call of the underlying writer. It does not write a route twice
// that is written already, as of a pass that is run again. A different route of the same batch is
// an error and is not written: two batches have one number, see [Batch.Micro]. After the writer has
// failed, the end of the file is unknown, and every later call fails too.
func (r *Recorder) Write(route *RecordedRoute) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed
	}
	if r.w == nil {
		return errNoRecorder
	}
	if err := route.validate(); err != nil {
		return errtext.Errorf("router: recording a route: %w", err)
	}
	r.buf = route.append(r.buf[:0])
	known, err := r.knows(route.RouteKey, maphash.Bytes(r.seed, r.buf))
	if known || err != nil {
		return err
	}
	if _, err := r.w.Write(r.buf); err != nil {
		r.failed = errtext.Errorf("router: recording a route: %w", err)
	}
	return r.failed
}

// knows tells whether the route with that checksum has been written, and notes it. It is an error
// if the batch has been written with another one.
func (r *Recorder) knows(k RouteKey, sum uint64) (bool, error) {
	l := r.layers[k.Layer]
	if l == nil {
		l = &recordedLayer{sums: map[RouteKey]uint64{}}
		r.layers[k.Layer] = l
	}
	if old, ok := l.sums[k]; ok {
		if old != sum {
			return false, fmt.Errorf("router: recording %v: it has been recorded with other routes; batches of a step need numbers of their own, Batch.Micro", k)
		}
		return true, nil
	}
	l.sums[k] = sum
	if k.Step > l.newest {
		l.newest = k.Step
		maps.DeleteFunc(l.sums, func(k RouteKey, _ uint64) bool { return k.Step <= l.newest-keptSteps })
	}
	return false, nil
}

// Err returns the error of the writer, if it has failed.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
