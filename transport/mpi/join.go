package mpi

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// Join makes this process a rank of its job, which mpirun or srun has started; rank and size are
// those of MPI. It starts MPI unless the program has, and returns when all ranks have called it and
// agree on their settings. MPI cannot stop waiting for a rank, so ctx is checked only before and
// after. Without
// -tags mpi, or without cgo, it returns an error.
func Join(ctx context.Context, cfg Config) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, &transport.Error{Rank: transport.None, Op: "join", Err: contextError(ctx)}
	}
	p, err := openPort(cfg.Size)
	if err != nil {
		return nil, &transport.Error{Rank: transport.None, Op: "join", Err: err}
	}
	return join(ctx, cfg.WithDefaults(), p)
}

func join(ctx context.Context, cfg Config, p port) (*Transport, error) {
	t := newTransport(cfg, p)
	var err error
	if cfg.Size == 0 { // all ranks
		err = separateJob(len(t.peers), rendezvous.Sizes(os.Getenv))
	}
	if err == nil {
		err = t.agree()
	}
	if err == nil && ctx.Err() != nil {
		err = &transport.Error{Rank: t.rank, Op: "join", Err: contextError(ctx)}
	}
	if err != nil {
		_ = t.Close() // so that the others do not wait
		return nil, err
	}
	t.cfg.Log.Info("joined", "rank", t.rank, "size", len(t.peers))
	return t, nil
}

// separateJob returns an error if MPI has only this rank although its launcher has started several:
// each would be a separate job. The launcher then belongs to another MPI than the program.
func separateJob(size int, launched map[string]int) error {
	if size > 1 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(launched)) {
		if launched[name] == size {
			return nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(launched)) {
		return &transport.Error{Rank: transport.None, Op: "join", Err: fmt.Errorf("MPI knows of 1 rank, but %s has started %d: start the "+
			"program with the mpirun of the MPI that it was built with, and srun with an --mpi that this MPI knows", name, launched[name])}
	}
	return nil
}

// termsBytes bounds the settings as text: rendezvous bounds the user's to 2 KiB, and ours are
// short.
const termsBytes = 3 << 10

// agree compares the settings of all ranks: digests first, then the texts if one differs.
func (t *Transport) agree() error {
	terms := t.cfg.terms()
	mine := rendezvous.Digest("", terms)
	all, err := t.port.gather(mine[:])
	if err != nil {
		return &transport.Error{Rank: transport.None, Op: "join", Err: err}
	}
	odd := transport.None
	for r := range t.peers {
		if odd == transport.None && !bytes.Equal(all[r*len(mine):][:len(mine)], all[:len(mine)]) {
			odd = transport.Rank(r)
		}
	}
	if odd == transport.None {
		return nil
	}
	text := make([]byte, termsBytes)
	copy(text, textOf(terms))
	texts, err := t.port.gather(text)
	if err != nil {
		return &transport.Error{Rank: odd, Op: "join", Err: err}
	}
	return &transport.Error{Rank: odd, Op: "join", Err: fmt.Errorf("%w: %s", transport.ErrMismatch,
		difference(trimmed(texts[:termsBytes]), trimmed(texts[int(odd)*termsBytes:][:termsBytes]), odd))}
}

func trimmed(text []byte) string { return string(bytes.TrimRight(text, "\x00")) }

// textOf writes settings as sorted lines of k=v.
func textOf(settings map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		b.WriteString(k + "=" + settings[k] + "\n")
	}
	return b.String()
}

// difference names the lines in which rank 0 and rank odd differ.
func difference(zero, other string, odd transport.Rank) string {
	only := func(a, b string) []string {
		var out []string
		for line := range strings.Lines(a) {
			if !strings.Contains("\n"+b, "\n"+line) {
				out = append(out, strings.TrimSpace(line))
			}
		}
		return out
	}
	return fmt.Sprintf("rank 0 has %q, rank %d has %q", only(zero, other), odd, only(other, zero))
}
