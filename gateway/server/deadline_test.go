package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countedConn counts how often it is told a deadline.
type countedConn struct {
	net.Conn
	told *atomic.Int32
}

func (c countedConn) SetReadDeadline(t time.Time) error {
	c.told.Add(1)
	return c.Conn.SetReadDeadline(t)
}

func (c countedConn) SetWriteDeadline(t time.Time) error {
	c.told.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

// Requests that follow one another cost two deadlines each, where net/http breaks off
// its look for the client's end; without deadline they would cost eight.
func TestDeadlinesOfARequest(t *testing.T) {
	const requests = 50
	inBubble(t, usual("h1"), say("hello"), func(l *line) {
		client, server := net.Pipe()
		var told atomic.Int32
		l.f.offer(newConn(countedConn{server, &told}, l.f, netip.MustParseAddr("192.0.2.1"), place{}))
		in := bufio.NewReader(client)
		for range requests {
			pass(time.Millisecond)
			_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
		if n := told.Load(); n > 2*requests+4 {
			t.Errorf("%d deadlines for %d requests", n, requests)
		}
		_ = client.Close()
	})
}

// Whatever the socket was told before, a deadline passes when it was set to.
func TestDeadlinePassesInTime(t *testing.T) {
	now := func(d time.Duration) time.Time { return time.Now().Add(d) }
	for name, set := range map[string]func(func(time.Time) error){
		"alone":      func(set func(time.Time) error) { _ = set(now(3 * time.Second)) },
		"put off":    func(set func(time.Time) error) { _ = set(now(time.Second)); _ = set(now(3 * time.Second)) },
		"sooner":     func(set func(time.Time) error) { _ = set(now(time.Hour)); _ = set(now(3 * time.Second)) },
		"cleared":    func(set func(time.Time) error) { _ = set(now(1)); _ = set(time.Time{}); _ = set(now(3 * time.Second)) },
		"after past": func(set func(time.Time) error) { expire(set); _ = set(time.Time{}); _ = set(now(3 * time.Second)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				_, f := atRest(say("hello"), usual("h1"))
				c := newConn(server, f, netip.Addr{}, place{})
				start := time.Now()
				set(c.SetReadDeadline)
				set(c.SetWriteDeadline)
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
					t.Errorf("read: %v after %v", err, time.Since(start))
				}
				start = time.Now()
				set(c.SetWriteDeadline)
				go func() { _, _ = client.Read(make([]byte, 2)) }()
				if n, err := c.Write(make([]byte, 5)); n != 2 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
					t.Errorf("write: %d, %v after %v", n, err, time.Since(start))
				}
				_ = client.Close()
			})
		})
	}
}

// A deadline that was cleared never passes.
func TestDeadlineIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		_, f := atRest(say("hello"), usual("h1"))
		c := newConn(server, f, netip.Addr{}, place{})
		for _, set := range []func(time.Time) error{c.SetReadDeadline, c.SetWriteDeadline} {
			_ = set(time.Now().Add(time.Second))
			_ = set(time.Time{})
		}
		go func() {
			<-time.After(time.Hour)
			_, _ = client.Write([]byte("late"))
			<-time.After(time.Hour)
			_, _ = io.Copy(io.Discard, client)
		}()
		if n, err := c.Read(make([]byte, 4)); n != 4 || err != nil {
			t.Errorf("read: %d, %v", n, err)
		}
		if n, err := c.Write([]byte("answer")); n != 6 || err != nil {
			t.Errorf("write: %d, %v", n, err)
		}
		_ = c.Close()
	})
}
