package server

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func unixClient(path string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// TestFault36UnixSocket: a socket that a dead process left behind is replaced,
// lives through reloads and is removed at the end.
func TestFault36UnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	listener := func(mode string) string {
		return fmt.Sprintf("listeners: {web: {address: %q, socket_mode: %s}}\n", "unix:"+path, mode)
	}
	h := prepare(t, settings(1, listener(`"0600"`)+ending), sayClient).open()
	want := func(mode fs.FileMode) {
		t.Helper()
		status, body, err := fetch(unixClient(path), "http://localhost/")
		if err != nil || status != http.StatusOK || body != "127.0.0.1" {
			t.Errorf("%d %q %v", status, body, err)
		}
		if got := modeOf(t, path); got != fs.ModeSocket|mode {
			t.Errorf("mode %v, want %v", got, mode)
		}
	}
	want(0o600)
	before, _ := os.Lstat(path)
	if err := h.edit(settings(2, listener("0666")+ending)); err != nil {
		t.Fatal(err)
	}
	want(0o666)
	if after, _ := os.Lstat(path); !os.SameFile(before, after) {
		t.Error("the reload made another socket")
	}
	h.stop()
	h.wait()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}

// TestAddresses: one listener with several addresses, which come and go with
// reloads while the others stay.
func TestAddresses(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "1.sock"), filepath.Join(t.TempDir(), "2.sock")
	listener := func(paths ...string) string {
		return fmt.Sprintf("listeners: {web: {addresses: [\"127.0.0.1:0\", \"unix:%s\"], limits: {connections: 2}}}\n", strings.Join(paths, "\", \"unix:"))
	}
	h := prepare(t, settings(1, listener(one, two)+ending), say("hello")).open()
	works := func(path string) {
		t.Helper()
		if status, body, err := fetch(unixClient(path), "http://localhost/"); err != nil || body != "hello" {
			t.Errorf("%s: %d %q %v", path, status, body, err)
		}
	}
	h.wantGet("hello")
	works(one)
	works(two)
	port := h.addr()
	if err := h.edit(settings(1, listener(one)+ending)); err != nil {
		t.Fatal(err)
	}
	h.wantGet("hello")
	works(one)
	if h.addr() != port {
		t.Errorf("the port changed from %s to %s", port, h.addr())
	}
	if _, err := os.Lstat(two); !os.IsNotExist(err) {
		t.Errorf("the socket that is gone: %v", err)
	}
	if err := h.edit(settings(1, listener(one, "/nowhere/at/all.sock")+ending)); err == nil || !strings.Contains(err.Error(), "listen on unix:/nowhere/at/all.sock") {
		t.Errorf("a bad address: %v", err)
	}
	// The limit is one for all addresses.
	for range 2 {
		dial(t, h.Addrs()["web"])
	}
	h.wantSoon(`pithead_connections{listener="web"} 2`)
	if _, _, err := fetch(unixClient(one), "http://localhost/"); err == nil {
		t.Error("a third connection was let in")
	}
}

// TestMaxAge: an answer on a connection that is too old asks the client to go,
// and a new request finds a new one.
func TestMaxAge(t *testing.T) {
	old := usual("h1", "h2c")
	old.Timeouts.MaxAge = time.Hour
	ask := func(t *testing.T, tr *http.Transport) (closing bool) {
		resp, err := (&http.Client{Transport: tr}).Get("http://a/")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.Close
	}
	for name, http2 := range map[string]bool{"HTTP/1.1: Connection: close": false, "HTTP/2: GOAWAY": true} {
		t.Run(name, func(t *testing.T) {
			old.Timeouts.Idle = 3 * time.Hour
			inBubble(t, old, say("hello"), func(l *line) {
				dials := 0
				tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
					dials++
					return l.open(), nil
				}}
				tr.Protocols.SetHTTP1(!http2)
				tr.Protocols.SetUnencryptedHTTP2(http2)
				for range 3 {
					if ask(t, tr) {
						t.Error("a young connection is closed")
					}
					pass(0) // the transport shares an HTTP/2 connection a moment after its first request has it
				}
				pass(53 * time.Minute)
				if ask(t, tr) || dials != 1 {
					t.Errorf("closed before nine tenths of its age, %d connections", dials)
				}
				pass(14 * time.Minute)
				if closing := ask(t, tr); closing == http2 { // HTTP/2 says it in a frame
					t.Errorf("closing: %t", closing)
				}
				pass(time.Second)
				if ask(t, tr); dials != 2 {
					t.Errorf("%d connections, want 2", dials)
				}
				tr.CloseIdleConnections()
			})
		})
	}
}

// wantSoon waits for a metric that follows an event at the other end of a socket.
func (h *house) wantSoon(line string) {
	h.t.Helper()
	for late := time.After(patience); ; {
		if strings.Contains(h.scrape(), line+"\n") {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			h.wantMetric(line)
			return
		}
	}
}
