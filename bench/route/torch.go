package route

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/peers"
)

// torchScript routes with torch under our protocol, which it describes.
//
//go:embed route.py
var torchScript []byte

// torch is the script at work.
type torch struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	about string
}

// startTorch starts the script with the first of pythons that has torch.
func startTorch(ctx context.Context, dir string, pythons []string) (*torch, error) {
	script := filepath.Join(dir, "route.py")
	if err := os.WriteFile(script, torchScript, 0o600); err != nil {
		return nil, err
	}
	var faults []string
	for _, python := range pythons {
		t, err := startPython(ctx, python, script)
		if err == nil {
			return t, nil
		}
		faults = append(faults, fmt.Sprintf("%s: %v", python, err))
	}
	return nil, fmt.Errorf("%s; to compare with it: apt-get install python3-torch libopenblas0", strings.Join(faults, "; "))
}

func startPython(ctx context.Context, python, script string) (*torch, error) {
	var stderr strings.Builder
	t := &torch{cmd: exec.CommandContext(ctx, python, script)}
	t.cmd.Stderr = &stderr
	var err error
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	t.out = bufio.NewReader(out)
	line, err := t.out.ReadString('\n')
	if err != nil {
		_ = t.cmd.Wait() // what it says on its way out is the reason
		return nil, errors.New(lastLine(stderr.String()))
	}
	t.about = strings.TrimPrefix(strings.TrimSpace(line), peers.Torch+" ")
	return t, nil
}

// lastLine returns the last line of a text that is not empty.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func (t *torch) name() string    { return peers.Torch }
func (t *torch) version() string { return t.about }

func (t *torch) turn(file string, tokens, experts, k, iterations int) (turn, error) {
	if _, err := fmt.Fprintln(t.in, file, tokens, experts, k, iterations); err != nil {
		return turn{}, err
	}
	line, err := t.out.ReadString('\n')
	if err != nil {
		return turn{}, fmt.Errorf("no answer: %w", err)
	}
	counts, times, _ := strings.Cut(line, ";")
	r := turn{allocs: -1}
	for _, f := range strings.Fields(counts) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return r, err
		}
		r.counts = append(r.counts, n)
	}
	for _, f := range strings.Fields(times) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return r, err
		}
		r.took = append(r.took, time.Duration(n))
	}
	if len(r.took) != iterations {
		return r, fmt.Errorf("%d times for %d calls", len(r.took), iterations)
	}
	return r, nil
}

// Close ends the script.
func (t *torch) Close() error { return errors.Join(t.in.Close(), t.cmd.Wait()) }
