package tcp

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Join meets the other ranks at cfg.Addr, connects to every one of them and returns this rank's end of the
// mesh. It ends at the latest when ctx does or cfg.JoinTimeout passes; its errors are those of
// [rendezvous.Meet] and *transport.Error with the operation "join".
func Join(ctx context.Context, cfg Config) (*Transport, error) { return JoinNear(ctx, cfg, nil) }

// JoinNear is Join for ranks some of which are reached by near instead, which may be nil.
func JoinNear(ctx context.Context, cfg Config, near Near) (*Transport, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	t := newTransport(cfg)
	t.near = near
	if cfg.Size > 1 {
		ctx, cancel := context.WithTimeout(ctx, cfg.JoinTimeout)
		defer cancel()
		if err := t.connect(ctx); err != nil {
			t.Abandon()
			return nil, err
		}
	}
	t.cfg.Security = secure.Config{} // no secret is kept longer than it serves
	t.Start()
	return t, nil
}

// connect listens, learns where the others listen, and builds the mesh.
func (t *Transport) connect(ctx context.Context) error {
	guard, err := secure.NewGuard(t.cfg.Security, t.cfg.Job, t.cfg.Rank, t.cfg.Log)
	if err != nil {
		return t.joinError(err)
	}
	listen, err := t.listen()
	if err != nil {
		return err
	}
	b := t.newBuilder(ctx, guard, listen)
	defer b.end()
	settings := t.terms()
	table, err := rendezvous.Meet(ctx, rendezvous.Config{
		Rank: t.cfg.Rank, Size: t.cfg.Size, Addr: t.cfg.Addr, Job: t.cfg.Job,
		Listen: t.publish(listen.Addr().String()), Settings: settings,
		Timeout: t.cfg.JoinTimeout, Security: t.cfg.Security, Insecure: t.cfg.Insecure, Log: t.cfg.Log,
	})
	if err != nil {
		return err
	}
	return b.build(table.Addrs, hello{
		size: uint32(t.cfg.Size), from: t.cfg.Rank, epoch: t.cfg.Epoch,
		session: table.Session, terms: rendezvous.Digest(t.cfg.Job, settings),
	})
}

// terms are the settings that all ranks must share: the user's and those of the wire.
func (t *Transport) terms() map[string]string {
	terms := maps.Clone(t.cfg.Settings)
	if terms == nil {
		terms = make(map[string]string)
	}
	terms["tcp.epoch"] = strconv.FormatUint(uint64(t.cfg.Epoch), 10)
	terms["tcp.max_message_bytes"] = strconv.Itoa(t.cfg.MaxMessageBytes)
	terms["tcp.payload_sums"] = strconv.FormatBool(!t.cfg.NoPayloadSums)
	return terms
}

// listen opens this rank's mesh listener: on exactly one address, with a port of the system's choice.
func (t *Transport) listen() (net.Listener, error) {
	host := t.cfg.Host
	if host == "" {
		var err error
		if host, err = localHost(t.cfg.Addr); err != nil {
			return nil, t.joinError(err)
		}
	}
	addr := net.JoinHostPort(host, "0")
	if err := rendezvous.CheckBind(addr, t.cfg.Insecure || t.cfg.Security.Enabled()); err != nil {
		return nil, t.joinError(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, t.joinError(err)
	}
	return l, nil
}

func (t *Transport) joinError(err error) error {
	return &transport.Error{Rank: t.cfg.Rank, Op: "join", Err: err}
}

// localHost is the address of this machine from which addr is reached. No packet is sent to find out.
func localHost(addr string) (string, error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return "", fmt.Errorf("no way to %s: %w", addr, err)
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	return host, err
}
