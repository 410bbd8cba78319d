package safetensors_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/checkpoint/safetensors"
)

// allocated returns the bytes that f allocates, those too that are soon free.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// long is a file of one tensor that is read in several pieces.
func long(t testing.TB, size int) (*safetensors.File, []byte) {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	plan, err := safetensors.NewPlan(nil, []safetensors.Tensor{{Name: "w", DType: safetensors.U8, Shape: []int{size}}})
	require.NoError(t, err)
	var out bytes.Buffer
	w, err := safetensors.NewWriter(&out, plan)
	require.NoError(t, err)
	require.NoError(t, w.Write("w", data))
	require.NoError(t, w.Close())
	f, err := parse(out.Bytes())
	require.NoError(t, err)
	return f, data
}

func TestReadsOfATensor(t *testing.T) {
	f, data := long(t, 700_001)
	whole := make([]byte, len(data))
	crc, err := f.ReadInto("w", whole)
	require.NoError(t, err)
	require.Equal(t, data, whole)
	again, err := f.Checksum("w")
	require.NoError(t, err)
	require.Equal(t, crc, again)
	for _, r := range [][2]int{{0, 0}, {0, 1}, {0, 700_001}, {1, 700_001}, {5, 400_000}, {700_000, 700_001}, {700_001, 700_001}} {
		part := make([]byte, r[1]-r[0])
		require.NoError(t, f.ReadRange("w", part, int64(r[0])))
		require.Equal(t, data[r[0]:r[1]], part)
	}
}

func TestReadsThatAreRefused(t *testing.T) {
	f, _ := long(t, 10)
	_, err := f.ReadInto("w", make([]byte, 9))
	require.ErrorContains(t, err, `tensor "w" has 10 bytes; the destination has 9`)
	_, err = f.ReadInto("x", nil)
	require.ErrorContains(t, err, `no tensor "x"`)
	_, err = f.Checksum("x")
	require.ErrorContains(t, err, `no tensor "x"`)
	require.ErrorContains(t, f.ReadRange("x", nil, 0), `no tensor "x"`)
	for _, r := range []struct {
		bytes int
		from  int64
	}{{11, 0}, {1, 10}, {0, 11}, {1, -1}, {2, 9}, {1, 1<<63 - 1}} {
		require.ErrorContains(t, f.ReadRange("w", make([]byte, r.bytes), r.from), `tensor "w" has 10 bytes, not`)
	}
	_, ok := f.Lookup("x")
	require.False(t, ok)
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	_, err := safetensors.Open(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = safetensors.Open(t.TempDir())
	require.ErrorIs(t, err, safetensors.ErrInvalid)
	require.ErrorContains(t, err, "not a regular file")
}

// TestOpenClosesWhatItRefuses, without the help of the garbage collector.
func TestOpenClosesWhatItRefuses(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, sample(t)[:20], 0o600))
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no list of open files:", err)
		}
		return len(list)
	}
	before := open()
	for range 20 {
		_, err := safetensors.Open(path)
		require.ErrorIs(t, err, safetensors.ErrInvalid)
	}
	require.Less(t, open(), before+10)
}

// TestFileThatBecomesShorter after it was opened gives an error, not zeros.
func TestFileThatBecomesShorter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, sample(t), 0o600))
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	last := f.Tensors()[len(f.Tensors())-1]
	require.NoError(t, os.Truncate(path, last.Offset))
	dst := make([]byte, last.Bytes)
	_, err = f.ReadInto(last.Name, dst)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, path)
	_, err = f.Checksum(last.Name)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, f.ReadRange(last.Name, dst[:1], 0), io.ErrUnexpectedEOF)
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	_, err = f.ReadInto(last.Name, dst)
	require.ErrorIs(t, err, os.ErrClosed)
}

// broken fails from the byte from on.
type broken struct {
	io.ReaderAt
	from int64
}

var errBroken = errors.New("the disk is broken")

func (b broken) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > b.from {
		return 0, errBroken
	}
	return b.ReaderAt.ReadAt(p, at)
}

func TestErrorsOfTheReaderAreNotOfTheFile(t *testing.T) {
	file := sample(t)
	for _, from := range []int64{0, 8, 20} {
		_, err := safetensors.NewFile(broken{bytes.NewReader(file), from}, int64(len(file)))
		require.ErrorIs(t, err, errBroken)
		require.NotErrorIs(t, err, safetensors.ErrInvalid)
	}
}

func TestReadsAtTheSameTime(t *testing.T) {
	f, data := long(t, 600_000)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			dst := make([]byte, len(data))
			if _, err := f.ReadInto("w", dst); err != nil || !bytes.Equal(data, dst) {
				t.Error("another reader changed what was read", err)
			}
		})
	}
	readers.Wait()
}

// TestReaderNeedsNoMemoryForTensors beyond that of its caller.
func TestReaderNeedsNoMemoryForTensors(t *testing.T) {
	f, data := long(t, 8<<20)
	used := allocated(func() {
		_, err := f.ReadInto("w", data)
		require.NoError(t, err)
	})
	require.Less(t, used, uint64(64<<10))
	used = allocated(func() {
		_, err := f.Checksum("w")
		require.NoError(t, err)
	})
	require.Less(t, used, uint64(512<<10))
}
