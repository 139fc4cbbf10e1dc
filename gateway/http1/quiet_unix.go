//go:build unix

package http1

import (
	"errors"
	"io"
	"syscall"
)

var errBytes = errors.New("bytes that belong to no request")

// readNothing returns nil if there is nothing to read from a socket. It does not
// wait: sockets of package net are in non-blocking mode.
func readNothing(fd uintptr) error {
	var one [1]byte
	n, err := syscall.Read(int(fd), one[:])
	switch {
	case n > 0:
		return errBytes
	case n == 0 && err == nil:
		return io.EOF
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return nil
	}
	return err
}
