//go:build mpi && cgo

package mpi

/*
#cgo CFLAGS: -O2 -std=gnu99 -Wall
#cgo linux,amd64 CFLAGS: -isystem /usr/lib/x86_64-linux-gnu/openmpi/include
#cgo linux,arm64 CFLAGS: -isystem /usr/lib/aarch64-linux-gnu/openmpi/include
#cgo LDFLAGS: -lmpi
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/cgo"
	"sync/atomic"
	"unsafe"
)

// The structs must have the same layout in C.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(command{})-C.sizeof_sy_command]
	_ = [1]struct{}{}[unsafe.Sizeof(piece{})-C.sizeof_sy_piece]
	_ = [1]struct{}{}[unsafe.Sizeof(arrival{})-C.sizeof_sy_arrival]
	_ = [1]struct{}{}[unsafe.Sizeof(completion{})-C.sizeof_sy_completion]
)

// realPort is MPI. Its slots are C's memory.
type realPort struct {
	c          *C.sy_port
	started    bool
	in, out    []byte
	stop       *atomic.Int32
	counts     *[2]C.int // of a turn's arrivals and completions; here, so that no turn allocates
	yieldEvery C.int
	isCrowded  bool
}

// openPort starts MPI unless the program has, and makes a port of the first size ranks, or of all
// if size is 0.
func openPort(size int) (port, error) {
	started, err := startMPI()
	if err != nil {
		return nil, err
	}
	p := &realPort{started: started, counts: new([2]C.int)}
	if err := p.open(size); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *realPort) open(size int) error {
	var world C.int
	if err := worded("MPI_Comm_size", C.sy_world_size(&world)); err != nil {
		return err
	}
	if size > int(world) {
		return fmt.Errorf("mpi: Size is %d, but mpirun has started %d ranks", size, world)
	}
	if err := worded("opening", C.sy_open(C.int(size), inSlots, outSlots, frameBytes, maxEvents, &p.c)); err != nil {
		return err
	}
	p.in = unsafe.Slice((*byte)(C.sy_inbound(p.c)), inSlots*frameBytes)
	p.out = unsafe.Slice((*byte)(C.sy_outbound(p.c)), outSlots*frameBytes)
	p.stop = (*atomic.Int32)(unsafe.Pointer(C.sy_interrupt(p.c)))
	p.isCrowded = isCrowded(int(C.sy_local(p.c)), processors(os.DirFS("/"), runtime.NumCPU()))
	p.yieldEvery = spinsPerYield
	if p.isCrowded {
		p.yieldEvery = 1
	}
	if C.sy_yields(p.c) != 0 {
		p.yieldEvery = math.MaxInt32
	}
	return nil
}

// spinsPerYield is how often a rank that has a processor to itself polls before it offers it to
// others.
const spinsPerYield = 16

// startMPI initialises MPI unless that has been done, which it reports.
func startMPI() (started bool, err error) {
	var initialised, finalised, serial, begun C.int
	if err := worded("MPI_Initialized", C.sy_ready(&initialised, &finalised, &serial)); err != nil {
		return false, err
	}
	if finalised != 0 {
		return false, errors.New("mpi: MPI has been finalised in this process, and cannot be started again")
	}
	if err := worded("MPI_Init_thread", C.sy_start(&begun)); err != nil {
		return false, err
	}
	if err := worded("MPI_Query_thread", C.sy_ready(&initialised, &finalised, &serial)); err != nil {
		return false, err
	}
	if serial == 0 {
		return false, errors.New("mpi: this MPI does not offer MPI_THREAD_SERIALIZED, which goroutines need; " +
			"a program that starts MPI by itself must ask for it in MPI_Init_thread")
	}
	return begun != 0, nil
}

// stopMPI finalises MPI, for which all ranks have to call it.
func stopMPI() error { return worded("MPI_Finalize", C.sy_finish()) }

// worded turns a code of MPI into an error in words.
func worded(call string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("mpi: %s: %s", call, words(int32(code)))
}

func words(code int32) string {
	text := make([]byte, int(C.sy_error_bytes()))
	C.sy_error(C.int(code), (*C.char)(unsafe.Pointer(&text[0])))
	return C.GoString((*C.char)(unsafe.Pointer(&text[0])))
}

func (p *realPort) rank() int     { return int(C.sy_rank(p.c)) }
func (p *realPort) size() int     { return int(C.sy_size(p.c)) }
func (p *realPort) tagLimit() int { return int(C.sy_tag_limit(p.c)) }
func (p *realPort) crowded() bool { return p.isCrowded }
func (p *realPort) owned() bool   { return p.started }

func (p *realPort) inbound(i int32) []byte  { return p.in[int(i)*frameBytes:][:frameBytes:frameBytes] }
func (p *realPort) outbound(i int32) []byte { return p.out[int(i)*frameBytes:][:frameBytes:frameBytes] }

func (p *realPort) interrupt() { p.stop.Store(1) }
func (p *realPort) calm()      { p.stop.Store(0) }

func (p *realPort) words(code int32) string { return words(code) }

// turn implements port. Arrays are passed by their first element; none of them holds a Go pointer.
func (p *realPort) turn(b *batch, spins int, patient bool) error {
	code := C.sy_turn(p.c,
		(*C.sy_command)(unsafe.Pointer(unsafe.SliceData(b.commands))), C.int(len(b.commands)),
		(*C.sy_piece)(unsafe.Pointer(unsafe.SliceData(b.pieces))), C.int(spins), truth(patient), p.yieldEvery,
		(*C.sy_arrival)(unsafe.Pointer(unsafe.SliceData(b.arrivals))), &p.counts[0],
		(*C.sy_completion)(unsafe.Pointer(unsafe.SliceData(b.done))), &p.counts[1])
	b.arrivals, b.done = b.arrivals[:p.counts[0]], b.done[:p.counts[1]]
	return worded("exchange", code)
}

func (p *realPort) cancel(id int32) (bool, error) {
	var cancelled C.int
	code := C.sy_cancel(p.c, C.int32_t(id), &cancelled)
	return cancelled != 0, worded("MPI_Cancel", code)
}

func (p *realPort) gather(mine []byte) ([]byte, error) {
	all := make([]byte, len(mine)*p.size())
	code := C.sy_gather(p.c, unsafe.Pointer(&mine[0]), unsafe.Pointer(&all[0]), C.int(len(mine)))
	return all, worded("MPI_Allgather", code)
}

func (p *realPort) close(clean bool, owner any) error {
	if owner != nil {
		cgo.NewHandle(owner)
	}
	finish := clean && p.started
	if err := worded("closing", C.sy_free(p.c, truth(clean))); err != nil || !finish {
		return err
	}
	return stopMPI()
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
