package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestListenerOfHTTP2Alone: crypto/tls takes a client that offers no protocol, and one
// that offers HTTP/1.1 alone, for the sake of old ones. The listener must not.
func TestListenerOfHTTP2Alone(t *testing.T) {
	dir := t.TempDir()
	certify(t, dir, 1)
	h := secureWith(t, fmt.Sprintf("listeners: {web: {address: \"127.0.0.1:0\", protocols: [h2], "+
		"tls: {certificates: [{cert: %s/cert.pem, key: %s/key.pem}]}}}\n", dir, dir), say("hello"))
	for _, offers := range [][]string{nil, {"http/1.1"}} {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", h.addr(),
			&tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: offers})
		if err != nil {
			continue // that early is fine, too
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if answer, err := io.ReadAll(c); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v: got %q, %v", offers, answer, err)
		}
		_ = c.Close()
	}
}

// TestTooLateForHTTP2: net/http takes no connection after its shutdown, and leaves it
// to others to close it.
func TestTooLateForHTTP2(t *testing.T) {
	_, f := atRest(say("hello"), usual("h1", "h2c"))
	if err := f.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	c := newConn(server, f, netip.MustParseAddr("192.0.2.1"), place{})
	if !f.remember(c) {
		t.Fatal("the front takes no connections")
	}
	go f.serve(c)
	_ = client.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(client); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("got %q, %v", rest, err)
	}
	_ = f.Close()
	select {
	case <-f.gone:
	case <-time.After(patience):
		t.Error("the front waits for it")
	}
}

// TestRestingBesideDeadlines: what a handler has left behind may set a deadline late.
func TestRestingBesideDeadlines(t *testing.T) {
	_, f := atRest(say("hello"), usual("h1"))
	client, server := net.Pipe()
	defer client.Close()
	c := newConn(server, f, netip.MustParseAddr("192.0.2.1"), place{})
	var late sync.WaitGroup
	late.Go(func() { _ = c.SetReadDeadline(time.Time{}) })
	c.rested()
	late.Wait()
	if got := phase(c.phase.Load()); got != phaseIdle {
		t.Errorf("phase %d", got)
	}
	_ = server.Close()
}
