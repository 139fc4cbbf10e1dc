//go:build linux

package bpf

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkLoad is loading and attaching everything.
func BenchmarkLoad(b *testing.B) {
	need(b)
	dir := group(b)
	best := time.Hour
	for b.Loop() {
		begun := time.Now()
		p, err := Load(Options{Cgroup: dir, AnyListen: true, Labels: 64, Status: true, Settle: time.Second})
		if err != nil {
			b.Fatal(err)
		}
		best = min(best, time.Since(begun))
		b.StopTimer()
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(best.Milliseconds()), "ms-best")
	b.ReportMetric(resident(b), "MiB-resident")
}

// resident is the memory that this process has in RAM.
func resident(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}

// BenchmarkCycle is a request and its answer on loopback in one thread, without
// the probe, with one side watched, and with both, which is what a proxied request
// costs. The variants take turns, and the best of many short batches counts: other
// work on the machine only adds.
func BenchmarkCycle(b *testing.B) {
	need(b)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	port := Port{Number: uint16(listener.Addr().(*net.TCPAddr).Port)}
	inode, _, err := OwnNetns()
	if err != nil {
		b.Fatal(err)
	}
	variants := []struct {
		name string
		o    *Options
		best time.Duration
	}{
		{"without", nil, time.Hour},
		{"server", &Options{Listen: []Port{port}}, time.Hour},
		{"both", &Options{Listen: []Port{port}, Upstream: []Port{port}}, time.Hour},
		{"both-and-status", &Options{Listen: []Port{port}, Upstream: []Port{port}, Status: true}, time.Hour},
	}
	for b.Loop() {
		for i := range variants {
			v := &variants[i]
			closer := func() error { return nil }
			if v.o != nil {
				v.o.Netns, v.o.Labels, v.o.Settle = inode, 16, time.Second
				p, err := Load(*v.o)
				if err != nil {
					b.Fatal(err)
				}
				closer = p.Close
			}
			v.best = min(v.best, cycles(b, listener))
			if err := closer(); err != nil {
				b.Fatal(err)
			}
		}
	}
	base := variants[0].best
	b.ReportMetric(float64(base.Nanoseconds())/batch, "ns-without")
	for _, v := range variants[1:] {
		b.ReportMetric(float64((v.best-base).Nanoseconds())/batch, "ns-"+v.name)
	}
}

// batch is short enough to run undisturbed between other work.
const batch = 20

// cycles is the shortest time of some batches on a new connection.
func cycles(b *testing.B, listener net.Listener) time.Duration {
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	request, answer := []byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	buffer := make([]byte, 100)
	best := time.Hour
	for range 500 {
		begun := time.Now()
		for range batch {
			_, _ = client.Write(request)
			_, _ = server.Read(buffer)
			_, _ = server.Write(answer)
			_, _ = client.Read(buffer)
		}
		best = min(best, time.Since(begun))
	}
	return best
}
