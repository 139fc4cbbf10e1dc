//go:build linux

package bpf

import (
	"context"
	"net"
	"net/http"

	"golang.org/x/sys/unix"

	"github.com/pithead/pithead/gateway/anatomy"
)

type connKey struct{}

func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

func connOf(r *http.Request) net.Conn { return r.Context().Value(connKey{}).(net.Conn) }

// tag and timings are the gateway's end of the channel.
func tag(conn net.Conn, tag anatomy.Tag) (err error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	return firstOf(raw.Control(func(fd uintptr) { err = tag.Set(fd) }), &err)
}

func timings(conn net.Conn, into *anatomy.Timings) (err error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	return firstOf(raw.Control(func(fd uintptr) { err = into.Read(fd) }), &err)
}

func firstOf(a error, b *error) error {
	if a != nil {
		return a
	}
	return *b
}

// waitForClient returns when a listener has somebody to accept.
func waitForClient(fd uintptr) {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
}
