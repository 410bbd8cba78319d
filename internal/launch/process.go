package launch

import (
	"io"
	"os"
	"os/exec"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// process is one rank: its process group and the readers of its output.
type process struct {
	rank    int
	cmd     *exec.Cmd
	pipes   []*os.File
	readers sync.WaitGroup
	// exited is closed when the process itself has ended.
	exited chan struct{}
	// drained is closed when no process holds the write end of the rank's output any more.
	drained chan struct{}
}

// startProcess starts rank in a process group of its own. The output uses pipes of this package
// rather than exec's, so that the end of the process is noticed at once even while a child of it
// holds them open.
func (j *job) startProcess(rank int) (*process, error) {
	cmd := exec.Command(j.cfg.Command[0], j.cfg.Command[1:]...)
	cmd.Dir = j.cfg.Dir
	cmd.Env = j.try.environment(j.cfg.Env, rank, j.cfg.Ranks)
	cmd.ExtraFiles = j.cfg.Files(rank)
	cmd.SysProcAttr = groupAttributes()
	p := &process{rank: rank, cmd: cmd, exited: make(chan struct{}), drained: make(chan struct{})}
	stdout, err := p.pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := p.pipe()
	if err != nil {
		p.closePipes()
		return nil, err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		p.closePipes()
		return nil, errtext.Errorf("launch: starting rank %d: %w", rank, err)
	}
	if j.cfg.OnStart != nil {
		j.cfg.OnStart(rank, cmd.Process)
	}
	p.read(j.out, j.cfg.Stdout, p.pipes[0])
	p.read(j.out, j.cfg.Stderr, p.pipes[1])
	go func() { p.readers.Wait(); close(p.drained) }()
	return p, nil
}

// pipe makes a pipe, keeps its read end and returns its write end.
func (p *process) pipe() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, errtext.Errorf("launch: pipe of rank %d: %w", p.rank, err)
	}
	p.pipes = append(p.pipes, r)
	return w, nil
}

func (p *process) read(out *lines, w io.Writer, r *os.File) {
	p.readers.Go(func() { out.copy(w, r, p.rank) })
}

func (p *process) closePipes() {
	for _, r := range p.pipes {
		_ = r.Close()
	}
}

// gone reports whether the rank's process has ended and no child that inherited its output is left.
func (p *process) gone() bool { return isClosed(p.exited) && isClosed(p.drained) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
