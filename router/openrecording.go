package router

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// Recording is a file of routes, for [Replay]. It keeps the offset of each batch's route in the
// file, about a hundred bytes for each route, and reads a route when it is needed. Many gates may
// use it at the same time.
type Recording struct {
	file      io.ReaderAt
	routes    map[RouteKey]span
	experts   map[int]int  // of each layer, by its first record
	evaluated map[int]bool // layers of which evaluations were recorded
}

// span is the position of a record in the file.
type span struct {
	begin  int64
	size   int
	number int // among the records
}

// OpenRecording reads a file of routes once, to its end, and checks all of it; so does
// [Recording.Route] with what it reads again. The file must stay open, and as it is, while the
// recording is in use.
func OpenRecording(file io.ReaderAt) (*Recording, error) {
	whole := io.NewSectionReader(file, 0, math.MaxInt64)
	in, err := NewRouteReader(bufio.NewReaderSize(whole, 1<<16))
	if err != nil {
		return nil, err
	}
	rec := &Recording{
		file: file, routes: map[RouteKey]span{}, experts: map[int]int{}, evaluated: map[int]bool{},
	}
	for {
		begin := in.at
		route, err := in.Next()
		if err == io.EOF {
			return rec, nil
		}
		if err != nil {
			return nil, err
		}
		if err := rec.add(route, span{begin, int(in.at - begin), in.read - 1}); err != nil {
			return nil, err
		}
	}
}

// ReadRecording is OpenRecording for a stream, which it keeps in memory.
func ReadRecording(r io.Reader) (*Recording, error) {
	all, err := io.ReadAll(r)
	if err != nil {
		return nil, errtext.Errorf("router: file of routes: %w", err)
	}
	return OpenRecording(bytes.NewReader(all))
}

// add notes the position of a route. The same route may come twice.
func (r *Recording) add(route *RecordedRoute, at span) error {
	first, ok := r.routes[route.RouteKey]
	if !ok {
		r.routes[route.RouteKey] = at
		r.evaluated[route.Layer] = r.evaluated[route.Layer] || !route.Train
		if _, ok := r.experts[route.Layer]; !ok {
			r.experts[route.Layer] = route.Experts
		}
		return nil
	}
	a, err := r.bytes(first)
	if err != nil {
		return err
	}
	b, err := r.bytes(at)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("router: routes %d and %d of a file are both of %v, and differ", first.number, at.number, route.RouteKey)
	}
	return nil
}

// bytes returns a record as it is in the file.
func (r *Recording) bytes(at span) ([]byte, error) {
	b := make([]byte, at.size)
	if n, err := r.file.ReadAt(b, at.begin); n < len(b) {
		return nil, errtext.Errorf("router: route %d of a file: %w", at.number, unexpected(err))
	}
	return b, nil
}

// Len returns the number of batches that were recorded, over all layers.
func (r *Recording) Len() int { return len(r.routes) }

// Route returns the route of a batch, which then belongs to the caller. A batch that was not
// recorded is an error that names it.
func (r *Recording) Route(k RouteKey) (*RecordedRoute, error) {
	at, ok := r.routes[k]
	if !ok {
		return nil, fmt.Errorf("router: replay: %v was not recorded", k)
	}
	b, err := r.bytes(at)
	if err != nil {
		return nil, err
	}
	in := RouteReader{r: bytes.NewReader(b)}
	route, err := in.next()
	if err == nil && route.RouteKey != k {
		err = fmt.Errorf("it is of %v now", route.RouteKey)
	}
	if err != nil {
		return nil, errtext.Errorf("router: replay: %v, route %d of a file that has changed: %w", k, at.number, unexpected(err))
	}
	return route, nil
}
