package codectest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// plain is float32, with one method replaced.
type plain struct {
	name   func() string
	bytes  func(n int) int
	append func(dst []byte, row []float32) []byte
	decode func(row []float32, src []byte) error
}

func (p plain) String() string {
	if p.name != nil {
		return p.name()
	}
	return "plain"
}

func (p plain) Bytes(n int) int {
	if p.bytes != nil {
		return p.bytes(n)
	}
	return 4 * n
}

func (p plain) Append(dst []byte, row []float32) []byte {
	if p.append != nil {
		return p.append(dst, row)
	}
	return write(dst, row)
}

func (p plain) Decode(row []float32, src []byte) error {
	if p.decode != nil {
		return p.decode(row, src)
	}
	return read(row, src)
}

func write(dst []byte, row []float32) []byte {
	for _, v := range row {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}

func read(row []float32, src []byte) error {
	for i := range row {
		row[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
	return nil
}

// broken has codecs by what is wrong with them: the rule that finds it, and what that says.
func broken() map[string]struct {
	rule, says string
	codec      plain
} {
	calls, before, busy := new(atomic.Int64), new(atomic.Uint32), new(atomic.Int64)
	return map[string]struct {
		rule, says string
		codec      plain
	}{
		"no name":               {"Name", "String", plain{name: func() string { return "" }}},
		"a name of two lines":   {"Name", "want one line", plain{name: func() string { return "a\nb" }}},
		"a name that changes":   {"Name", "String, called again", plain{name: func() string { return fmt.Sprint(calls.Add(1)) }}},
		"no bytes":              {"Lengths", "bytes of 1 numbers", plain{bytes: func(int) int { return 0 }}},
		"a length that changes": {"Lengths", "bytes of 0 numbers|asked again|what Append writes", plain{bytes: func(n int) int { return 4*n + int(calls.Add(1))%2 }}},
		"short rows": {"Lengths", "what Append writes for 1 numbers", plain{append: func(dst []byte, row []float32) []byte {
			return write(dst, row)[:len(dst)+max(4*len(row)-1, 0)]
		}}},
		"zeros left out": {"Lengths", "what Append writes", plain{append: func(dst []byte, row []float32) []byte {
			for _, v := range row {
				if v != 0 {
					dst = write(dst, []float32{v})
				}
			}
			return dst
		}}},
		"writes over what is before": {"Lengths", "what stood before the row", plain{append: func(dst []byte, row []float32) []byte {
			dst[0]++
			return write(dst, row)
		}}},
		"a large error": {"RoundTrip", "came back", plain{decode: func(row []float32, src []byte) error {
			defer func() {
				for i := range row {
					row[i] *= 1.5
				}
			}()
			return read(row, src)
		}}},
		"drifts": {"Drift", "written again", plain{decode: func(row []float32, src []byte) error {
			defer func() {
				for i := range row {
					row[i] = math.Nextafter32(row[i], 1)
				}
			}()
			return read(row, src)
		}}},
		"by chance": {"Deterministic", "written twice", plain{append: func(dst []byte, row []float32) []byte {
			dst = write(dst, row)
			if len(row) > 0 {
				dst[len(dst)-4] ^= byte(rand.IntN(256))
			}
			return dst
		}}},
		"memory not written": {"Deterministic", "written twice", plain{append: func(dst []byte, row []float32) []byte {
			if len(row) == 0 {
				return dst
			}
			return write(dst, row[:len(row)-1])[:len(dst)+4*len(row)]
		}}},
		"the row before": {"RowsIndependent", "after another row", plain{append: func(dst []byte, row []float32) []byte {
			if len(row) == 0 {
				return dst
			}
			last := math.Float32frombits(before.Swap(math.Float32bits(row[0])))
			dst = write(dst, row)
			if last > 100 {
				dst[len(dst)-4] ^= 1
			}
			return dst
		}}},
		"a row scaled in place": {"Unchanged", "the row that Append got", plain{append: func(dst []byte, row []float32) []byte {
			dst = write(dst, row)
			for i := range row {
				row[i] *= 2
			}
			return dst
		}}},
		"bytes written over": {"Unchanged", "the bytes that Decode got", plain{decode: func(row []float32, src []byte) error {
			defer clear(src)
			return read(row, src)
		}}},
		"one goroutine": {"Concurrent", "beside", plain{decode: func(row []float32, src []byte) error {
			if busy.Add(1) > 1 {
				busy.Add(-1)
				return errors.New("in use")
			}
			defer busy.Add(-1)
			for range 100 {
				runtime.Gosched()
			}
			return read(row, src)
		}}},
		"NaN hidden": {"NotFinite", "all numbers that came back are finite", plain{decode: func(row []float32, src []byte) error {
			defer func() {
				for i, v := range row {
					if v-v != 0 {
						row[i] = 0
					}
				}
			}()
			return read(row, src)
		}}},
		"panics": {"AnyBytes", "Decode of", plain{decode: func(row []float32, src []byte) error {
			if len(src) > 3 && src[3] == 0xff {
				panic("no such number")
			}
			return read(row, src)
		}}},
		"zeros not set": {"AnyBytes", "does not set all", plain{decode: func(row []float32, src []byte) error {
			for i := range row {
				if v := math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])); v != 0 {
					row[i] = v
				}
			}
			return nil
		}}},
	}
}

// TestBrokenCodecsAreFound: each by its rule.
func TestBrokenCodecsAreFound(t *testing.T) {
	found := map[string]bool{}
	for name, b := range broken() {
		said := run(b.rule, b.codec, Loss{Most: 0.1})
		require.Regexp(t, b.says, said, "%s: what %s says", name, b.rule)
		found[b.rule] = true
	}
	for _, r := range rules {
		require.True(t, found[r.name], "no codec breaks %s", r.name)
		require.Empty(t, run(r.name, plain{}, Loss{}), "%s of a codec without a fault", r.name)
	}
}

// run runs a rule, and returns how it failed.
func run(rule string, c plain, loss Loss) string {
	notes := &recorder{}
	done := make(chan struct{})
	go func() { // which FailNow ends
		defer close(done)
		for _, r := range rules {
			if r.name == rule {
				r.check(suite{notes, c, loss, rand.New(rand.NewPCG(1, 2))})
			}
		}
	}()
	<-done
	return notes.said
}

// recorder keeps what a failing test says.
type recorder struct{ said string }

func (r *recorder) Errorf(format string, args ...any) { r.said += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { runtime.Goexit() }
