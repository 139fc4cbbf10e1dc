//go:build !linux

package splice

import (
	"errors"
	"syscall"
)

// Pipe cannot be had here.
type Pipe struct{}

// Get returns nil.
func Get() *Pipe { return nil }

// Free is never called.
func (*Pipe) Free() {}

// Fill is never called.
func (*Pipe) Fill(syscall.RawConn, int64) (int, error) { return 0, errors.ErrUnsupported }

// Drain is never called.
func (*Pipe) Drain(syscall.RawConn) (int, error) { return 0, errors.ErrUnsupported }

// Read is never called.
func (*Pipe) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }
