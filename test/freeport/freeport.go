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
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			if unlockErr := lock(port, syscall.F_UNLCK); unlockErr != nil {
				return 0, nil, unlockErr
			}
			continue // somebody who does not ask here has it
		}
		taken[port] = true
		return port, sync.OnceFunc(func() { give(port) }), nil
	}
	return 0, nil, errors.New("no port is free")
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
