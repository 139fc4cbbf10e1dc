//go:build linux

package bpf

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cable carries packets between two network interfaces: a netem for kernels that
// are built without it.
type cable struct {
	delay atomic.Int64 // nanoseconds that a packet takes from the far end to the near one
	cut   atomic.Bool  // nothing gets through
}

type packet struct {
	due  time.Time
	data []byte
}

// lay makes the two interfaces. They disappear with the test.
func lay(t *testing.T, near, far string) *cable {
	t.Helper()
	a, b := tun(t, near), tun(t, far)
	c := &cable{}
	var all sync.WaitGroup
	c.carry(&all, a, b, new(atomic.Int64))
	c.carry(&all, b, a, &c.delay)
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
		all.Wait()
	})
	return c
}

func tun(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name)
}

func (c *cable) carry(all *sync.WaitGroup, from, to *os.File, delay *atomic.Int64) {
	onTheWay := make(chan packet, 1000)
	all.Go(func() {
		defer close(onTheWay)
		for {
			data := make([]byte, 65536)
			n, err := from.Read(data)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil && !c.cut.Load() {
				onTheWay <- packet{time.Now().Add(time.Duration(delay.Load())), data[:n]}
			}
		}
	})
	all.Go(func() {
		for p := range onTheWay {
			if wait := time.Until(p.due); wait > 0 {
				<-time.After(wait)
			}
			_, _ = to.Write(p.data) // an interface that is down loses packets
		}
	})
}
