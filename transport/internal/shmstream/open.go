//go:build linux && !purego

package shmstream

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/transport/internal/arena"
)

// maxArenaBytes bounds what one rank maps of another: address space, not memory.
const maxArenaBytes = arena.MaxBytes

// offer makes the stream's memory and bells, and shares them with the rank at the other end of c.
func offer(c *net.UnixConn, arena *Arena, theirs *hello) (*Stream, error) {
	fd, memory, err := create(streamBytes(int(theirs.ringBytes)), streamSeals)
	if err != nil {
		return nil, err
	}
	defer closeAll(fd)
	l := newStream(memory, int(theirs.ringBytes), true)
	if err = l.ownBells(); err == nil {
		l.arena = arena
		err = pass(c, fd, arena.fd, l.inBell, l.outBell, l.peerInBell, l.peerOutBell)
	}
	if err == nil {
		err = l.takeArena(c, theirs)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// ownBells makes the bells of both sides.
func (l *Stream) ownBells() error {
	var errs [4]error
	l.inBell, errs[0] = bell()
	l.outBell, errs[1] = bell()
	l.peerInBell, errs[2] = bell()
	l.peerOutBell, errs[3] = bell()
	return errors.Join(errs[:]...)
}

// takeArena receives the other's arena, which is all that it adds.
func (l *Stream) takeArena(c *net.UnixConn, theirs *hello) error {
	fds, err := receive(c, 1)
	if err != nil {
		return err
	}
	defer closeAll(fds...)
	l.peers, err = adopt(fds[0], int(theirs.arenaBytes), arenaSeals, unix.PROT_READ)
	return err
}

// accept takes the stream that the rank at the other end of c offers.
func accept(c *net.UnixConn, arena *Arena, theirs *hello) (*Stream, error) {
	fds, err := receive(c, 6)
	if err != nil {
		return nil, err
	}
	defer closeAll(fds[:2]...)
	memory, err := adopt(fds[0], streamBytes(int(theirs.ringBytes)), streamSeals, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		closeAll(fds[2:]...)
		return nil, errtext.Errorf("stream: %w", err)
	}
	l := newStream(memory, int(theirs.ringBytes), false)
	l.arena = arena
	l.peerInBell, l.peerOutBell, l.inBell, l.outBell = fds[2], fds[3], fds[4], fds[5]
	l.peers, err = adopt(fds[1], int(theirs.arenaBytes), arenaSeals, unix.PROT_READ)
	if err == nil {
		err = pass(c, arena.fd)
	}
	if err != nil {
		l.Close()
		return nil, errtext.Errorf("arena: %w", err)
	}
	return l, nil
}
