//go:build !linux

package server

import (
	"errors"
	"net"
	"time"
)

// poller exists on Linux alone: elsewhere connections stay with the engine.
type poller struct{}

func newPoller() (*poller, error) { return nil, errors.ErrUnsupported }

func pollable(net.Conn) bool { return false }

func (*poller) watch(net.Conn, int32, bool) bool { return false }
func (*poller) wakeAt(time.Time)                 {}
func (*poller) wait([]int32) (int, bool)         { return 0, false }
func (*poller) close()                           {}
