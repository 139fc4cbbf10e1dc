package splice

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is a connection over loopback.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func rawOf(t *testing.T, c *net.TCPConn) syscall.RawConn {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func get(t *testing.T) *Pipe {
	t.Helper()
	p := Get()
	if p == nil {
		t.Fatal("no pipe")
	}
	t.Cleanup(p.Free)
	return p
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// fill has p hold b.
func fill(t *testing.T, p *Pipe, b []byte) *Pipe {
	t.Helper()
	near, far := pair(t)
	if _, err := far.Write(b); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Fill(rawOf(t, near), int64(len(b))); n != len(b) || err != nil {
		t.Fatal(n, err)
	}
	return p
}

func TestFromSocketToSocket(t *testing.T) {
	p, sent := get(t), noise(3<<20+17)
	from, origin := pair(t)
	to, client := pair(t)
	go func() {
		_, _ = origin.Write(sent)
		_ = origin.CloseWrite()
	}()
	failed := make(chan error, 1)
	go func() {
		defer to.CloseWrite()
		for {
			n, err := p.Fill(rawOf(t, from), 1<<40)
			if errors.Is(err, io.EOF) {
				failed <- nil
				return
			}
			if err == nil {
				var m int
				if m, err = p.Drain(rawOf(t, to)); m != n && err == nil {
					err = io.ErrShortWrite
				}
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	got, err := io.ReadAll(client)
	if err := errors.Join(err, <-failed); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes are not the %d that were sent", len(got), len(sent))
	}
}

func TestFillTakesAtMost(t *testing.T) {
	p := get(t)
	near, far := pair(t)
	_, _ = far.Write([]byte("first" + "next answer"))
	if n, err := p.Fill(rawOf(t, near), 5); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if b, err := io.ReadAll(p); string(b) != "first" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	rest := make([]byte, 11)
	if _, err := io.ReadFull(near, rest); string(rest) != "next answer" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
}

// What a client has not taken when the time is over is taken later, once.
func TestDrainGoesOn(t *testing.T) {
	to, client := pair(t)
	_ = client.SetReadBuffer(64 << 10)
	_ = to.SetWriteBuffer(64 << 10)
	raw := rawOf(t, to)
	want := noise(2 << 20)
	_ = to.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	moved, blocked := 0, 0
	p := get(t)
	from, origin := pair(t)
	go func() { _, _ = origin.Write(want) }()
	got := make(chan []byte, 1)
	for moved < len(want) {
		if p.held == 0 {
			if _, err := p.Fill(rawOf(t, from), 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		n, err := p.Drain(raw)
		moved += n
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || blocked > 0 {
			t.Fatal(err)
		}
		blocked++
		_ = to.SetWriteDeadline(time.Time{})
		go func() {
			b := make([]byte, len(want))
			_, _ = io.ReadFull(client, b)
			got <- b
		}()
	}
	if blocked == 0 {
		t.Fatal("the client took everything at once")
	}
	if !bytes.Equal(<-got, want) {
		t.Error("other bytes than were sent")
	}
}

func TestFillEnds(t *testing.T) {
	f := func(name string, want error, end func(near, far *net.TCPConn)) {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t)
			raw := rawOf(t, near)
			go end(near, far)
			if n, err := get(t).Fill(raw, 100); n != 0 || !errors.Is(err, want) {
				t.Errorf("%d %v, want %v", n, err, want)
			}
		})
	}
	f("the end", io.EOF, func(_, far *net.TCPConn) { _ = far.CloseWrite() })
	f("a reset", syscall.ECONNRESET, func(_, far *net.TCPConn) { _, _ = far.SetLinger(0), far.Close() })
	f("closed on this side", net.ErrClosed, func(near, _ *net.TCPConn) { _ = near.Close() })
	f("too late", os.ErrDeadlineExceeded, func(near, _ *net.TCPConn) { _ = near.SetReadDeadline(time.Now()) })
}

func TestDrainFails(t *testing.T) {
	to, client := pair(t)
	_, _ = client.SetLinger(0), client.Close()
	_, _ = io.Copy(io.Discard, to) // the reset has come
	if n, err := fill(t, get(t), []byte("lost")).Drain(rawOf(t, to)); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%d %v", n, err)
	}
	_ = to.Close()
	if n, err := fill(t, get(t), []byte("lost")).Drain(rawOf(t, to)); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d %v", n, err)
	}
}

// Nobody gets what was left in somebody else's pipe.
func TestFreeWithBytes(t *testing.T) {
	p := Get()
	if p == nil {
		t.Fatal("no pipe")
	}
	fill(t, p, []byte("secret"))
	p.Free()
	for range maxSpare + 1 {
		if get(t) == p {
			t.Fatal("a pipe that holds bytes is used again")
		}
	}
}

func TestPipesAreFew(t *testing.T) {
	var all []*Pipe
	for p := Get(); p != nil; p = Get() {
		all = append(all, p)
	}
	if len(all) != maxPipes {
		t.Errorf("%d pipes, want %d", len(all), maxPipes)
	}
	for _, p := range all {
		p.Free()
	}
	if n := pipes.Load(); n != maxSpare {
		t.Errorf("%d pipes are left, want %d", n, maxSpare)
	}
}
