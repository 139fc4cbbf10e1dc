package server

import (
	"net"
	"os"
	"syscall"
	"time"
)

// poller waits for many descriptors with one goroutine. It is an epoll instance
// that itself is a descriptor in the poller of Go's runtime, so that no thread
// waits.
type poller struct {
	file *os.File
	raw  syscall.RawConn
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // or os.NewFile would block a thread
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err == nil {
		err = file.SetReadDeadline(time.Time{}) // says whether the runtime polls it
	}
	if err != nil {
		_ = file.Close() // the first error is the one to tell
		return nil, err
	}
	return &poller{file, raw}, nil
}

// pollable says whether the poller can wait for a connection.
func pollable(nc net.Conn) bool {
	_, ok := nc.(syscall.Conn)
	return ok
}

// watch waits for one event of a connection, which wait then tells by id. again
// is true for a connection that has been watched before.
func (p *poller) watch(nc net.Conn, id int32, again bool) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	op := syscall.EPOLL_CTL_ADD
	if again {
		op = syscall.EPOLL_CTL_MOD
	}
	// Fd is the kernel's to give back and nobody's to look at: an id cannot be
	// that of another connection, as a descriptor could that was closed.
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: id}
	var inner error
	outer := raw.Control(func(fd uintptr) {
		inner = p.raw.Control(func(epoll uintptr) {
			err = syscall.EpollCtl(int(epoll), op, int(fd), &event)
		})
	})
	return outer == nil && inner == nil && err == nil
}

// wakeAt makes wait return at t, or lets it wait for ever when t is zero.
func (p *poller) wakeAt(t time.Time) {
	_ = p.file.SetReadDeadline(t) // fails only on a closed file, which wait notices
}

// wait returns the ids of connections on which something happened, none when
// the time of wakeAt came first, and false when the poller was closed.
func (p *poller) wait(ids []int32) (n int, ok bool) {
	var events [128]syscall.EpollEvent
	room := min(len(ids), len(events))
	err := p.raw.Read(func(fd uintptr) bool {
		var err error
		n, err = syscall.EpollWait(int(fd), events[:room], 0)
		return n > 0 || err != nil && err != syscall.EINTR
	})
	if err != nil && !os.IsTimeout(err) {
		return 0, false
	}
	n = max(n, 0)
	for i, e := range events[:n] {
		ids[i] = e.Fd
	}
	return n, true
}

func (p *poller) close() { _ = p.file.Close() } // nothing is buffered
