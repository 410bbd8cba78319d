//go:build linux && !purego

package shmstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// A refusal takes the place of a hello, and has its size: magic "SWYN", a byte that is 1 where the
// ranks disagree about the job, and the reason in words, filled up with zeros. In place of
// descriptors it follows the byte refusing.
const (
	refusalMagic = 0x5357594e
	refusalText  = helloBytes - 5
	refusing     = 0xff
)

// ErrRefused is beneath the error of a rank whose peer says that it cannot share memory with it.
var ErrRefused = errors.New("the peer refuses to share memory")

func putRefusal(why error) []byte {
	b := make([]byte, helloBytes)
	binary.BigEndian.PutUint32(b, refusalMagic)
	if errors.Is(why, transport.ErrMismatch) {
		b[4] = 1
	}
	copy(b[5:], printable.Text(why.Error(), refusalText))
	return b
}

// readRefusal returns what b, which has helloBytes bytes, says.
func readRefusal(b []byte) error {
	text := strings.TrimRight(string(b[5:]), "\x00")
	err := fmt.Errorf("%w: %s", ErrRefused, printable.Text(text, 4*refusalText))
	if b[4] == 1 {
		err = fmt.Errorf("%w: %w", err, transport.ErrMismatch)
	}
	return err
}

// refuse tells the peer why this rank does not go on. inHello says that a hello is due, else
// descriptors are.
func refuse(c *net.UnixConn, why error, inHello bool) {
	if errors.Is(why, ErrRefused) || isTransient(why) {
		return // it knows, or it will be tried again
	}
	b := putRefusal(why)
	if !inHello {
		b = append([]byte{refusing}, b...)
	}
	_, _ = c.Write(b)
}

// isAbsent reports whether nobody listens. Ranks listen before they meet, so trying again does not
// help.
func isAbsent(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// isTransient reports whether a further attempt may go better: the peer has hung up or was slow, or
// its queue was full. Everything else is as it is: another user's process, no memory, no
// descriptors, no permission.
func isTransient(err error) bool {
	for _, transient := range []error{
		io.EOF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded, net.ErrClosed,
		syscall.ECONNRESET, syscall.EPIPE, syscall.EAGAIN, syscall.ECONNREFUSED, syscall.EINTR,
	} {
		if errors.Is(err, transient) {
			return true
		}
	}
	return false
}
