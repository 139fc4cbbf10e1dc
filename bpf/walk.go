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
	done := make(chan error)
	go func() {
		// The thread is never unlocked, so it ends with this goroutine, and nothing
		// else runs in the foreign namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter %s: %w", p.options.NetnsPath, err)
			return
		}
		done <- drain(it)
	}()
	return <-done
}

func drain(it *link.Iter) error {
	r, err := it.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
