//go:build linux

package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/config"
)

// yard is a front on a real socket, since only those are parked.
type yard struct {
	t      *testing.T
	f      *front
	sock   *socket
	served sync.WaitGroup
}

func openYard(t *testing.T, l *config.Listener) *yard { return openYardOf(t, say("hello"), l) }

func openYardOf(t *testing.T, h http.HandlerFunc, l *config.Listener) *yard {
	t.Helper()
	_, f := atRest(h, l)
	f.parkAfter = time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	y := &yard{t: t, f: f, sock: newSocket("", ln, slog.New(slog.DiscardHandler))}
	y.served.Go(f.run)
	y.sock.serve(f)
	return y
}

// close retires the front, which must need nobody's help for it.
func (y *yard) close(lameDuck time.Duration) {
	y.sock.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(y.t.Context()), patience)
	defer cancel()
	y.f.retire(ctx, lameDuck)
	if ctx.Err() != nil {
		y.t.Error("the front did not end by itself")
	}
	y.served.Wait()
}

func (y *yard) dial() net.Conn {
	c, err := net.Dial("tcp", y.sock.ln.Addr().String())
	if err != nil {
		y.t.Fatal(err)
	}
	y.t.Cleanup(func() { _ = c.Close() })
	return c
}

// waitParked waits until n connections are in the lot.
func (y *yard) waitParked(n int) {
	y.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		y.f.lot.mu.Lock()
		parked := len(y.f.lot.parked)
		y.f.lot.mu.Unlock()
		if parked == n {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			y.t.Fatalf("%d connections are parked, want %d", parked, n)
		}
	}
}

// open counts the connections that the front knows of.
func (y *yard) open() int { return len(y.f.open()) }

func TestParkedConnectionsAnswer(t *testing.T) {
	y := openYard(t, usual("h1", "h2c"))
	defer y.close(0)
	conns := make([]net.Conn, 20)
	for i := range conns {
		conns[i] = y.dial()
	}
	y.waitParked(0) // one that has had no request yet waits for the timeout of heads
	for round := range 5 {
		for _, c := range conns {
			if body, err := roundTrip(c); err != nil || body != "hello" {
				t.Fatalf("round %d: %q %v", round, body, err)
			}
		}
		y.waitParked(len(conns))
	}
	if n := y.open(); n != len(conns) {
		t.Errorf("%d connections are counted, want %d", n, len(conns))
	}
	for _, c := range conns[:10] {
		_ = c.Close()
	}
	y.waitParked(10)
	for y.open() != 10 { // a client that leaves is noticed
		<-time.After(time.Millisecond)
	}
}

// A head that comes in pieces has all of its time, however soon its connection
// would have been parked.
func TestParkingSparesSlowHeads(t *testing.T) {
	y := openYard(t, usual("h1"))
	defer y.close(0)
	c := y.dial()
	if _, err := roundTrip(c); err != nil {
		t.Fatal(err)
	}
	y.waitParked(1)
	for _, piece := range []string{"G", "E", "T / HTTP/1.1\r\n", "Host: a\r\n", "\r\n"} {
		if _, err := io.WriteString(c, piece); err != nil {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond) // twenty times what parks a connection
	}
	if _, body, err := readAnswer(c); err != nil || body != "hello" {
		t.Errorf("%q %v", body, err)
	}
}

func TestParkedConnectionsHaveTheIdleTimeout(t *testing.T) {
	l := usual("h1")
	l.Timeouts.Idle = 2 * time.Second // it must not be over before the connection is seen in the lot
	y := openYard(t, l)
	defer y.close(0)
	c := y.dial()
	if _, err := roundTrip(c); err != nil {
		t.Fatal(err)
	}
	y.waitParked(1)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if took, text := closedAfter(c); text != "" || took >= patience {
		t.Errorf("after %s: %q", took, text)
	}
}

// Parked connections do not hold up the end of their front, and those that send
// something before it comes are answered.
func TestParkedConnectionsAtTheEnd(t *testing.T) {
	y := openYard(t, usual("h1"))
	var silent, speaking []net.Conn
	for i := range 20 {
		c := y.dial()
		if _, err := roundTrip(c); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			silent = append(silent, c)
		} else {
			speaking = append(speaking, c)
		}
	}
	y.waitParked(20)
	y.f.lame.Store(true)
	var all sync.WaitGroup
	for _, c := range speaking {
		all.Go(func() {
			if body, err := roundTrip(c); err != nil || body != "hello" {
				t.Errorf("%q %v", body, err)
			}
		})
	}
	all.Wait()
	y.close(0)
	for _, c := range append(silent, speaking...) {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
			t.Errorf("a connection is still open: %d %v", n, err)
		}
	}
}

// TestParkingLosesNothing parks, wakes and closes connections as fast as it can:
// a request is answered whole, or its connection was closed before it came.
func TestParkingLosesNothing(t *testing.T) {
	for range 5 {
		y := openYard(t, usual("h1"))
		load := make(chan error, 16)
		for i := range cap(load) {
			c := y.dial()
			go func() { load <- comesAndGoes(c, time.Duration(i)*300*time.Microsecond) }()
		}
		<-time.After(100 * time.Millisecond)
		y.f.lame.Store(true) // from here on each answer is the last of its connection
		for range cap(load) {
			if err := <-load; err != nil {
				t.Error(err)
			}
		}
		y.close(0)
	}
}

// comesAndGoes sends requests with pauses until an answer says that it is the last.
func comesAndGoes(c net.Conn, pause time.Duration) error {
	for n := 0; ; n++ {
		res, _, err := exchange(c)
		if err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		if res.Close {
			return nil
		}
		<-time.After(pause)
	}
}

func TestTLSIsNotParked(t *testing.T) {
	l := usual("h1")
	l.TLS = &config.TLS{}
	_, f := atRest(say(""), l)
	c := &conn{front: f, Conn: new(net.TCPConn)}
	c.phase.Store(uint32(phaseBusy))
	if c.rested(); c.parks {
		t.Error("a connection below TLS may be parked")
	}
}

func BenchmarkWake(b *testing.B) {
	_, f := atRest(say("hello"), usual("h1"))
	f.parkAfter = time.Microsecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sock := newSocket("", ln, slog.New(slog.DiscardHandler))
	go f.run()
	sock.serve(f)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := roundTrip(c); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close()
	sock.close()
	f.retire(b.Context(), 0)
}
