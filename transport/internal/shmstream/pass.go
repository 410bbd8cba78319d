//go:build linux && !purego

package shmstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/transport"
)

// errOtherUser: the other end of a connection belongs to another user.
var errOtherUser = errors.New("process of another user")

// checkUser refuses a connection whose other end is not a process of this user.
func checkUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var who *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		who, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return err
	}
	if int(who.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: user %d, this is %d", errOtherUser, who.Uid, os.Geteuid())
	}
	return nil
}

// pass sends descriptors, with one byte for them to travel on.
func pass(c *net.UnixConn, fds ...int) error {
	_, _, err := c.WriteMsgUnix([]byte{byte(len(fds))}, unix.UnixRights(fds...), nil)
	return err
}

// receive takes exactly n descriptors, which are the caller's to close.
func receive(c *net.UnixConn, n int) ([]int, error) {
	var count [1]byte
	room := make([]byte, unix.CmsgSpace(4*n))
	got, rights, flags, _, err := c.ReadMsgUnix(count[:], room)
	if err == nil && got == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	fds := descriptors(room[:rights])
	if got == 1 && count[0] == refusing {
		closeAll(fds...)
		var b [helloBytes]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return nil, err
		}
		return nil, readRefusal(b[:])
	}
	if got != 1 || int(count[0]) != n || len(fds) != n || flags&unix.MSG_CTRUNC != 0 {
		closeAll(fds...)
		return nil, fmt.Errorf("%d descriptors announced and %d received, want %d: %w", count[0], len(fds), n, transport.ErrProtocol)
	}
	for _, fd := range fds {
		_ = unix.SetNonblock(fd, true) // whatever it is, it does not hold us up
	}
	return fds, nil
}

// readyByte is what the rank that dials sends when it has mapped everything.
const readyByte = 'R'

func sendReady(c *net.UnixConn) error {
	_, err := c.Write([]byte{readyByte})
	return err
}

func awaitReady(c *net.UnixConn) error {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	switch b[0] {
	case readyByte:
		return nil
	case refusing:
		var why [helloBytes]byte
		if _, err := io.ReadFull(c, why[:]); err != nil {
			return err
		}
		return readRefusal(why[:])
	}
	return fmt.Errorf("%#02x instead of consent: %w", b[0], transport.ErrProtocol)
}

// descriptors are those in a control message.
func descriptors(rights []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil
	}
	for i := range messages {
		if some, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, some...)
		}
	}
	return fds
}
