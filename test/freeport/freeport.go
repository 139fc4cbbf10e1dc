// Package freeport gives tests ports on loopback for what cannot be told to pick one
// itself, or has to come back on the same:
//
//	port, release, err := freeport.Take()
//
// A port that was free a moment ago may be somebody's by the time it is used. Those given
// here are below the ports that the system gives to outgoing connections, and no two
// takers have the same at a time, in this process or in others.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// The ports that are given. Those above are left to who needs one at a fixed distance, as
// the nodes of a Redis cluster do.
const (
	first = 15_000
	count = 7_000
)

var (
	mu    sync.Mutex
	taken = make(map[int]bool) // by this process: locks are between processes
	locks *os.File             // whose byte n is locked by the process that has port n
)

// Take finds a port of 127.0.0.1 that nobody listens on. It is the caller's until it is
// released, or its process ends.
func Take() (port int, release func(), err error) {
	mu.Lock()
	defer mu.Unlock()
	if locks == nil {
		name := filepath.Join(os.TempDir(), "pithead-test-ports-"+strconv.Itoa(os.Getuid()))
		if locks, err = os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
			return 0, nil, fmt.Errorf("free port: %w", err)
		}
	}
	for range 10 * count {
		port := first + rand.N(count)
		if taken[port] || lock(port, syscall.F_WRLCK) != nil {
			continue
		}
		if listens(port) { // somebody who does not ask here
			if err := lock(port, syscall.F_UNLCK); err != nil {
				return 0, nil, err
			}
			continue
		}
		taken[port] = true
		return port, sync.OnceFunc(func() { give(port) }), nil
	}
	return 0, nil, errors.New("no port is free")
}

// listens says whether somebody listens. To listen there and stop again would be the
// better question, were it not that a child which is being started at that moment has
// the socket too, until it runs its program, and the port is in use for as long.
func listens(port int) bool {
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.DialContext(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil {
		_ = conn.Close() // nothing was said
	}
	return !errors.Is(err, syscall.ECONNREFUSED)
}

// patience is more than a machine needs to start a child, or to refuse a connection.
const patience = 10 * time.Second

// Listen listens on an address where this process did so before. A child that was being
// started when it stopped may have the socket for a moment yet.
func Listen(addr string) (net.Listener, error) {
	for start := time.Now(); ; {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Since(start) > patience {
			return l, err
		}
		<-time.After(10 * time.Millisecond)
	}
}

func give(port int) {
	mu.Lock()
	defer mu.Unlock()
	delete(taken, port)
	_ = lock(port, syscall.F_UNLCK) // or it stays until the process ends
}

func lock(port int, kind int16) error {
	return syscall.FcntlFlock(locks.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: kind, Start: int64(port), Len: 1})
}
