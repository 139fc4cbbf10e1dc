package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// goroutines are those that run code of the gateway, and not of its tests.
func goroutines() (n int) {
	buf := make([]byte, 16<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "pithead/gateway/proxy.") || strings.Contains(stack, "pithead/middleware.") {
			n++
		}
	}
	return n
}

// Requests that are copied to a mirror, and WebSockets, have a few goroutines each
// while they last, and none afterwards.
func TestS12Goroutines(t *testing.T) {
	const requests = 40
	held, arrived := make(chan struct{}), make(chan struct{}, 10*requests)
	h := whole(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			arrived <- struct{}{}
			<-held
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		arrived <- struct{}{}
		_, _ = io.Copy(c, rw)
	}, ", use: [{mirror: {to: u}}]")
	base := goroutines()
	var conns []net.Conn
	begin := func(head string, arrivals int) {
		before := goroutines()
		for range requests {
			c := dial(t, h.Addrs()["web"])
			conns = append(conns, c)
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", head); err != nil {
				t.Fatal(err)
			}
		}
		for range arrivals {
			<-arrived
		}
		if n := goroutines() - before; n < requests || n > 4*requests {
			t.Errorf("%d goroutines for %d requests with %q", n, requests, head)
		}
	}
	begin("Connection: close\r\n", 2*requests)
	begin("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", requests)
	for _, c := range conns[requests:] {
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(resp, err)
		}
		_ = c.Close()
	}
	close(held)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); goroutines() > base; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d goroutines are left, %d before", goroutines(), base)
		}
	}
}
