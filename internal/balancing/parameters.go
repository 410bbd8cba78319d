package balancing

import (
	"context"
	"encoding/binary"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/transport"
)

// A helper asks the home of a run for the parameters, and says which version of them it has from a
// pass before. Home sends them and their version, or a message without bytes if they are still the
// same. So they travel once while they stay, in whatever order the ranks run their passes.

// The tag of a message says what it is, and the numbers of its pass and its expert, of which a rank
// computes one run.
const (
	expertBits  = 24
	passBits    = 21
	mostExperts = 1 << expertBits
)

const (
	request transport.Tag = iota
	reply
	gradient
)

// versionBytes is the length of a version in a message. Version 0 is none.
const versionBytes = 8

func (p *Pass) tag(of transport.Tag, expert int) transport.Tag {
	return of<<(passBits+expertBits) | transport.Tag(p.number)&(1<<passBits-1)<<expertBits | transport.Tag(expert)
}

// receiveParameters receives those of runs computed here, and copies those of experts hosted here.
func (p *Pass) receiveParameters(ctx context.Context) error {
	var sends, recvs []transport.Message
	var foreign []*run
	for i := range p.here {
		r := &p.here[i]
		if r.home == p.stage.rank() || p.stage.numbers == 0 {
			continue
		}
		foreign = append(foreign, r)
		peer := transport.Rank(r.home)
		claim := binary.LittleEndian.AppendUint64(nil, r.claim)
		sends = append(sends, transport.Message{Peer: peer, Tag: p.tag(request, r.Expert), Bufs: [][]byte{claim}})
		recvs = append(recvs, transport.Message{
			Peer: peer, Tag: p.tag(reply, r.Expert), Bufs: [][]byte{view.Bytes(r.into.numbers), r.version[:]},
		})
	}
	p.copyOwn()
	if err := p.exchange(ctx, "parameters", sends, recvs); err != nil {
		return err
	}
	s := p.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range foreign {
		if err := p.received(r, recvs[i].N); err != nil {
			return err
		}
	}
	for i, r := range p.here {
		s.keep(r.Expert, r.values)
		p.runs[i].Value = r.values.numbers
	}
	return nil
}

// received takes a reply of n bytes to a run.
func (p *Pass) received(r *run, n int) error {
	s := p.stage
	switch {
	case n == 0 && r.claim > 0:
		if r.into != r.values {
			s.unref(r.into)
		}
	case n == 4*s.numbers+versionBytes:
		if r.into.version = binary.LittleEndian.Uint64(r.version[:]); r.into != r.values {
			s.unref(r.values)
			r.values = r.into
		}
	default:
		return s.fault(r.home, "forward", "%w: %d bytes of the parameters of expert %d, want %d",
			transport.ErrProtocol, n, r.Expert, 4*s.numbers+versionBytes)
	}
	r.into = nil
	return nil
}

// copyOwn copies the parameters of experts hosted here for runs computed here.
func (p *Pass) copyOwn() {
	for _, r := range p.here {
		if !r.stale {
			continue
		}
		to := r.values.numbers
		for _, tensor := range p.stage.cfg.Experts.Values(p.stage.own(r.Expert)) {
			to = to[copy(to, tensor):]
		}
	}
}

// sendParameters sends those of experts hosted here to the helpers that have not this version.
func (p *Pass) sendParameters(ctx context.Context) error {
	s := p.stage
	recvs, sends := make([]transport.Message, len(p.away)), make([]transport.Message, len(p.away))
	claims := make([][versionBytes]byte, len(p.away))
	for i, r := range p.away {
		recvs[i] = transport.Message{Peer: transport.Rank(r.Rank), Tag: p.tag(request, r.Expert), Bufs: [][]byte{claims[i][:]}}
	}
	if err := p.exchange(ctx, "parameters", nil, recvs); err != nil {
		return err
	}
	for i, r := range p.away {
		if n := recvs[i].N; n != versionBytes {
			return s.fault(r.Rank, "forward", "%w: %d bytes of a request for the parameters of expert %d, want %d",
				transport.ErrProtocol, n, r.Expert, versionBytes)
		}
		sends[i] = transport.Message{Peer: transport.Rank(r.Rank), Tag: p.tag(reply, r.Expert)}
		if binary.LittleEndian.Uint64(claims[i][:]) == p.version {
			continue
		}
		for _, tensor := range s.cfg.Experts.Values(s.own(r.Expert)) {
			sends[i].Bufs = append(sends[i].Bufs, view.Bytes(tensor))
		}
		sends[i].Bufs = append(sends[i].Bufs, binary.LittleEndian.AppendUint64(nil, p.version))
	}
	return p.exchange(ctx, "parameters", sends, nil)
}
