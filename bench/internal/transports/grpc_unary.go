package transports

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// unary is what a program does that knows gRPC and nothing of us: a unary call for each message,
// whose bytes are a field of a proto message. It is what transport/grpc is measured against, no
// transport to use: what comes is kept without a limit.
type unary struct {
	transport.Transport // over which ranks meet
	comm                *collective.Comm
	server              *grpc.Server
	serving             sync.WaitGroup
	peers               []*grpc.ClientConn

	mu    sync.Mutex
	boxes map[unaryKey]chan []byte
}

type unaryKey struct {
	from transport.Rank
	tag  transport.Tag
}

const (
	unaryService, unaryMethod = "switchyard.bench.Unary", "Put"
	// unaryHeader is the sender and the tag, which stand before a message's bytes.
	unaryHeader = 16
	// unaryLimit is the longest message that servers are told to take.
	unaryLimit = 1 << 30
	// unaryQueue is how many messages of a peer and tag can wait for their receiver.
	unaryQueue = 8
	// longestAddr bounds a host and port.
	longestAddr = 64
)

// joinGRPCUnary makes this process a rank that exchanges by unary calls.
func joinGRPCUnary(ctx context.Context) (transport.Transport, error) {
	base, err := openTCP(ctx, tcp.Config{})
	if err != nil {
		return nil, err
	}
	u := &unary{Transport: base, comm: collective.New(base), boxes: make(map[unaryKey]chan []byte)}
	if err := u.open(ctx); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

// open serves, and dials the others that serve.
func (u *unary) open(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	u.server = grpc.NewServer(grpc.MaxRecvMsgSize(unaryLimit))
	u.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: unaryService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: unaryMethod, Handler: u.put}},
	}, u)
	u.serving.Go(func() { _ = u.server.Serve(listener) })
	addrs, err := u.comm.AllGatherAny(ctx, []byte(listener.Addr().String()), longestAddr)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		conn, err := grpc.NewClient(string(addr), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		u.peers = append(u.peers, conn)
	}
	return nil
}

// put is the server's side of a call.
func (u *unary) put(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var m wrapperspb.BytesValue
	if err := decode(&m); err != nil {
		return nil, err
	}
	if len(m.Value) < unaryHeader {
		return nil, fmt.Errorf("bench: unary message of %d bytes, want at least %d", len(m.Value), unaryHeader)
	}
	key := unaryKey{transport.Rank(binary.BigEndian.Uint64(m.Value)), transport.Tag(binary.BigEndian.Uint64(m.Value[8:]))}
	select {
	case u.box(key) <- m.Value[unaryHeader:]:
		return &emptypb.Empty{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (u *unary) box(key unaryKey) chan []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.boxes[key] == nil {
		u.boxes[key] = make(chan []byte, unaryQueue)
	}
	return u.boxes[key]
}

// Send makes the call.
func (u *unary) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	value := make([]byte, unaryHeader, unaryHeader+totalBytes(bufs))
	binary.BigEndian.PutUint64(value, uint64(u.Rank()))
	binary.BigEndian.PutUint64(value[8:], uint64(tag))
	for _, b := range bufs {
		value = append(value, b...)
	}
	return u.peers[to].Invoke(ctx, "/"+unaryService+"/"+unaryMethod, wrapperspb.Bytes(value), &emptypb.Empty{})
}

// Recv waits for a call.
func (u *unary) Recv(ctx context.Context, from transport.Rank, tag transport.Tag, bufs ...[]byte) (n int, err error) {
	select {
	case value := <-u.box(unaryKey{from, tag}):
		if room := totalBytes(bufs); len(value) > room {
			return 0, fmt.Errorf("bench: %d bytes from rank %d, room for %d: %w", len(value), from, room, transport.ErrTooLarge)
		}
		for _, b := range bufs {
			n += copy(b, value[n:])
		}
		return n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Close waits for the other ranks, whose calls may be under way, and ends all.
func (u *unary) Close() error {
	err := u.comm.Barrier(context.Background())
	for _, c := range u.peers {
		err = errors.Join(err, c.Close())
	}
	if u.server != nil {
		u.server.Stop()
	}
	u.serving.Wait()
	return errors.Join(err, u.Transport.Close())
}

func totalBytes(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}
