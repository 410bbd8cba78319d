//go:build linux && !purego

package shmstream

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/switchyard-moe/switchyard/transport"
)

// Seals of memory that is shared. Its size is fixed, and so are the seals; the owner of an arena
// adds that nobody else can map it for writing.
const (
	sizeSeals   = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	streamSeals = sizeSeals | unix.F_SEAL_SEAL
	arenaSeals  = streamSeals | unix.F_SEAL_FUTURE_WRITE
)

// create makes size bytes of anonymous memory and maps it. They take room only where they are
// touched.
func create(size, seals int) (fd int, memory []byte, err error) {
	if fd, err = unix.MemfdCreate("switchyard", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING); err != nil {
		return -1, nil, fmt.Errorf("memfd_create: %w", err)
	}
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		memory, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		if memory != nil {
			_ = unix.Munmap(memory)
		}
		_ = unix.Close(fd)
		return -1, nil, fmt.Errorf("shared memory of %d bytes: %w", size, err)
	}
	return fd, memory, nil
}

// adopt maps memory that a peer has made, if it has the size and the seals that it must have.
func adopt(fd, size, seals, protection int) ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	if stat.Size != int64(size) {
		return nil, fmt.Errorf("shared memory of %d bytes, want %d: %w", stat.Size, size, transport.ErrProtocol)
	}
	have, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("no sealed memory: %w: %w", err, transport.ErrProtocol)
	}
	if have&seals != seals {
		return nil, fmt.Errorf("shared memory with seals %#x, want %#x: %w", have, seals, transport.ErrProtocol)
	}
	memory, err := unix.Mmap(fd, 0, size, protection, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	return memory, nil
}

// closeAll closes descriptors; those below zero are none.
func closeAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// bell makes an eventfd.
func bell() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return fd, errors.Join(err)
}
