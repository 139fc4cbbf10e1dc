//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// seed watches the connections that are already open, and makes ready the walk
// that finishes responses.
func (p *Probe) seed() error {
	first, err := p.iterator(kernelProgSeed)
	if err == nil {
		err = errors.Join(p.walk(first), first.Close())
	}
	if err != nil {
		p.tier("connections from before", refused(kernelProgSeed, err))
	} else {
		p.tier("connections from before", nil)
	}
	sweeper, err := p.iterator(kernelProgSweep)
	if err != nil {
		p.tier("idle connections", refused(kernelProgSweep, err))
		return nil
	}
	p.sweeper = sweeper
	p.closers = append(p.closers, sweeper.Close)
	p.tier("idle connections", nil)
	return nil
}

func (p *Probe) iterator(name string) (*link.Iter, error) {
	program, err := p.load(name)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	return link.AttachIter(link.IterOptions{Program: program})
}

// walk runs an iterator over all connections of the watched network namespace: it
// sees that of the thread that opens it.
func (p *Probe) walk(it *link.Iter) error {
	if p.options.NetnsPath == "" {
		return drain(it)
	}
	ns, err := os.Open(p.options.NetnsPath)
	if err != nil {
		return err
	}
	defer ns.Close()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	done := make(chan error)
	go func() { done <- within(int(ns.Fd()), int(own.Fd()), func() error { return drain(it) }) }()
	return <-done
}

// within runs f in another network namespace. A thread that cannot come back is
// left locked, so that nothing else ever runs on it.
func within(there, back int, f func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err := f()
	if returned := unix.Setns(back, unix.CLONE_NEWNET); returned != nil {
		return errors.Join(err, fmt.Errorf("leave network namespace: %w", returned))
	}
	runtime.UnlockOSThread()
	return err
}

func drain(it *link.Iter) error {
	r, err := it.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
