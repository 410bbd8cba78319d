package grpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/switchyard-moe/switchyard/internal/shortage"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/controlpb"
)

// builder is the building of all streams: rank i dials every j below it, and j's service accepts.
type builder struct {
	*Service
	ctx context.Context
}

// build opens both streams to every peer, or fails.
func (s *Service) build(parent context.Context, addrs []string) error {
	ctx, cancel := context.WithCancel(parent)
	b := &builder{Service: s, ctx: ctx}
	var dialling sync.WaitGroup
	for j, addr := range addrs[:min(len(addrs), int(s.cfg.Rank))] {
		for _, kind := range []controlpb.StreamKind{controlStream, dataStream} {
			dialling.Go(func() {
				o := b.dial(transport.Rank(j), addr, kind)
				if o == (opened{}) {
					return
				}
				if !s.deliver(ctx, o) && o.stream != nil {
					o.stream.end()
				}
			})
		}
	}
	close(s.joining)
	err := b.collect()
	s.overOnce.Do(func() { close(s.over) })
	cancel()
	dialling.Wait()
	if errors.Is(err, errIncomplete) {
		err = b.incomplete(parent)
	}
	return err
}

// errIncomplete: time is up.
var errIncomplete = errors.New("streams are missing")

// collect attaches streams as they open until there are two for each peer.
func (b *builder) collect() error {
	t := b.t
	for left := 2 * (b.cfg.Size - 1); left > 0; left-- {
		select {
		case o := <-b.opened:
			if o.err != nil {
				return o.err
			}
			t.attach(o)
		case <-t.mesh.Broken():
			return b.broken()
		case <-b.ctx.Done():
			return errIncomplete
		}
	}
	return nil
}

// broken is what has broken the mesh, or the option of this rank's server that had its peer leave.
func (b *builder) broken() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refused; errors.Is(err, errOption) {
		return &transport.Error{Rank: b.cfg.Rank, Op: "join", Err: err}
	}
	return b.t.mesh.Err("join")
}

// incomplete names the ranks that are missing when time is up, why the first of those that this
// rank dials could not be reached, and who was refused last.
func (b *builder) incomplete(parent context.Context) error {
	missing := b.t.mesh.Missing()
	names := make([]string, len(missing))
	for i, r := range missing {
		names[i] = fmt.Sprint(r)
	}
	err := context.Cause(parent)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", transport.ErrTimeout, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused != nil {
		err = fmt.Errorf("%w; refused here: %w", err, b.refused)
	}
	blamed := missing[0]
	for _, r := range missing {
		if last := b.failed[r]; last != nil {
			blamed, err = r, fmt.Errorf("rank %d: %w: %w", r, last, err)
			break
		}
	}
	return &transport.Error{Rank: blamed, Op: "join",
		Err: fmt.Errorf("no connection with rank %s: %w", strings.Join(names, ", "), err)}
}

// dial opens one stream to rank j, trying again until the context ends, which gives no stream and
// no error, or there is no point in it.
func (b *builder) dial(j transport.Rank, addr string, kind controlpb.StreamKind) opened {
	failed := func(err error) opened {
		return opened{err: &transport.Error{Rank: b.culprit(j, err), Op: "join", Err: fmt.Errorf("dial %s: %w", addr, err)}}
	}
	var wanting shortage.Watch
	k, err := newLink(&b.cfg, addr)
	if err != nil {
		return failed(err)
	}
	b.t.mu.Lock()
	b.t.links = append(b.t.links, k)
	b.t.mu.Unlock()
	heard := false
	for pause := redialFirst; ; pause = min(2*pause, redialMost) {
		st, err := b.dialOnce(k, j, kind)
		if err == nil {
			return opened{peer: j, kind: kind, stream: st}
		}
		// Our own claim of an attempt that went wrong may not have been found to be stale yet.
		if isFinal(err) && !(heard && errors.Is(err, transport.ErrDuplicateRank)) {
			return failed(err)
		}
		heard = true
		b.remember(j, fmt.Errorf("dial %s: %w", addr, err))
		if wanting.Lasts(err) {
			return failed(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return opened{}
		}
	}
}

// culprit is this rank where it is short of something, and else the peer.
func (b *builder) culprit(j transport.Rank, err error) transport.Rank {
	if shortage.Is(err) {
		return b.cfg.Rank
	}
	return j
}

// remember keeps why rank j could not be reached; that time is up is the reason only where there is
// no other.
func (b *builder) remember(j transport.Rank, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() == nil || b.failed[j] == nil {
		b.failed[j] = err
	}
}

// isFinal reports whether a further attempt would end in the same way.
func isFinal(err error) bool {
	var refused *refusedError
	code := status.Code(err)
	return errors.As(err, &refused) || code == codes.Unimplemented || code == codes.FailedPrecondition ||
		errors.Is(err, errOption) || errors.Is(err, errIdentity) || errors.Is(err, transport.ErrMismatch)
}

// dialOnce opens a stream and says hello.
func (b *builder) dialOnce(k *link, j transport.Rank, kind controlpb.StreamKind) (*stream, error) {
	// The stream outlives the building, whose context must not end it once it is open.
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(b.ctx, cancel)
	method := dataMethod
	if kind == controlStream {
		method = controlMethod
	}
	cs, err := k.NewStream(ctx, &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true},
		"/"+serviceName+"/"+method, grpc.WaitForReady(true), grpc.ForceCodecV2(codec{}),
		grpc.MaxCallRecvMsgSize(maxReceiveBytes), grpc.MaxCallSendMsgSize(maxReceiveBytes))
	if err == nil {
		st := &stream{messages: cs, end: cancel}
		if err = b.greet(st, j, kind); err == nil && stop() {
			return st, nil
		}
	}
	cancel()
	if err == nil {
		err = b.ctx.Err()
	}
	return nil, k.unreached(err)
}

// greet says hello on a stream that this rank dialled, and checks the answer. It waits for that as
// long as there is time: the peer may not have joined yet.
func (b *builder) greet(st *stream, j transport.Rank, kind controlpb.StreamKind) error {
	if err := st.greet(helloAbout(b.hello, kind, j), kind); err != nil {
		return b.reasonOf(st, err)
	}
	var a controlpb.Answer
	if err := st.greeted(&a, kind); err != nil {
		return err
	}
	if err := b.cfg.trusts(st.Context(), j); err != nil {
		return err
	}
	if a.Refusal != nil {
		return refusedBy(j, a.Refusal)
	}
	if err := checkHello(b.hello, a.Hello, kind); err != nil {
		return err
	}
	if a.Hello.From != uint32(j) {
		return fmt.Errorf("rank %d answered for rank %d: %w", a.Hello.From, j, transport.ErrMismatch)
	}
	return nil
}

// reasonOf returns why a message could not be sent, which gRPC tells the receiving side.
func (b *builder) reasonOf(st *stream, err error) error {
	var in inbound
	if e := st.RecvMsg(&in); e != nil {
		return e
	}
	in.data.Free()
	return err
}
