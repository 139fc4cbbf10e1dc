//go:build linux

// Package cable is a network for tests that need a slow or broken one: a namespace at
// the far end of a cable that delays or loses packets. It is a netem for kernels that
// are built without it. Root is needed.
package cable

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Cable carries packets between two network interfaces.
type Cable struct {
	Delay atomic.Int64 // nanoseconds that a packet takes from the far end to the near one
	Cut   atomic.Bool  // nothing gets through

	// Namespace is the name of that at the far end.
	Namespace   string
	Here, There string // addresses of the two ends
}

type packet struct {
	due  time.Time
	data []byte
}

// Far makes a network namespace at the far end of a new cable. It disappears with the
// test.
func Far(t *testing.T) *Cable {
	t.Helper()
	ns := fmt.Sprintf("pithead%d", os.Getpid()%10000)
	subnet := fmt.Sprintf("10.213.%d.", os.Getpid()%250)
	do(t, "ip netns add "+ns)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() }) //nolint:noctx // the context of the test has ended by then
	c := lay(t, ns+"a", ns+"b")
	c.Namespace, c.Here, c.There = ns, subnet+"1", subnet+"2"
	do(t, "ip addr add "+c.Here+"/24 dev "+ns+"a")
	do(t, "ip link set "+ns+"a up")
	do(t, "ip link set "+ns+"b netns "+ns)
	do(t, "ip -n "+ns+" addr add "+c.There+"/24 dev "+ns+"b")
	do(t, "ip -n "+ns+" link set "+ns+"b up")
	do(t, "ip -n "+ns+" link set lo up")
	return c
}

// do runs a tool of iproute2.
func do(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil { //nolint:gosec // the lines are this file's own
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// lay makes the two interfaces. They disappear with the test.
func lay(t *testing.T, near, far string) *Cable {
	t.Helper()
	a, b := tun(t, near), tun(t, far)
	c := &Cable{}
	var all sync.WaitGroup
	c.carry(&all, a, b, new(atomic.Int64))
	c.carry(&all, b, a, &c.Delay)
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

func (c *Cable) carry(all *sync.WaitGroup, from, to *os.File, delay *atomic.Int64) {
	onTheWay := make(chan packet, 1000)
	all.Go(func() {
		defer close(onTheWay)
		for {
			data := make([]byte, 65536)
			n, err := from.Read(data)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil && !c.Cut.Load() {
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
