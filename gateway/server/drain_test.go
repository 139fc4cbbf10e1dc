package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/obs"
)

// TestFault32ShutdownUnderLoad: clients that never retry lose nothing but new
// connections.
func TestFault32ShutdownUnderLoad(t *testing.T) {
	for range 10 {
		h := prepare(t, settings(1, web+patientEnding), func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}).open()
		load := startLoad(t, h.addr(), 8, func(body string) error {
			if body != "hello" {
				return fmt.Errorf("body %q", body)
			}
			return nil
		})
		load.ending()
		h.stop()
		h.wait()
		load.finish(t)
		if n, _ := h.log.count("drained=true"); n != 1 {
			t.Error("not drained in time")
		}
	}
}

// witness is a listener whose connections remember whether the server has read
// something from them.
type witness struct {
	net.Listener
	read sync.Map // remote address -> *atomic.Int64
}

type witnessed struct {
	net.Conn
	n *atomic.Int64
}

func (w *witness) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	n, _ := w.read.LoadOrStore(c.RemoteAddr().String(), new(atomic.Int64))
	return &witnessed{c, n.(*atomic.Int64)}, nil
}

func (c *witnessed) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestN3WhatWasReadIsAnswered sends requests on idle connections at the very
// moment at which they are closed. Such a request may find the connection
// closed; but once the server has read it, it must be answered whole. With
// http.Server.Shutdown in place of settle this fails.
func TestN3WhatWasReadIsAnswered(t *testing.T) {
	answered, unread := 0, 0
	for range 20 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w := &witness{Listener: ln}
		f, shut := frontOn(t, w, &config.Listener{Protocols: []string{"h1"}, Timeouts: config.Timeouts{Header: 5 * time.Second}}, say("whole"))
		const clients = 16
		conns := make([]net.Conn, clients)
		for i := range conns {
			conns[i] = dial(t, ln.Addr())
			if body, err := roundTrip(conns[i]); err != nil || body != "whole" {
				t.Fatalf("first request: %q %v", body, err)
			}
			n, _ := w.read.Load(conns[i].LocalAddr().String())
			n.(*atomic.Int64).Store(0)
		}
		var all sync.WaitGroup
		var good, lost atomic.Int32
		for i, c := range conns {
			all.Go(func() {
				time := time.After(time.Duration(i) * 100 * time.Microsecond)
				<-time
				body, err := roundTrip(c)
				if err == nil && body == "whole" {
					good.Add(1)
					return
				}
				lost.Add(1)
				n, _ := w.read.Load(c.LocalAddr().String())
				// One byte says nothing: net/http looks that far ahead until it has put the
				// answer before away, which may take longer than this lame duck lives.
				if got := n.(*atomic.Int64).Load(); got > 1 {
					t.Errorf("%d bytes were read, and not answered: %q %v", got, body, err)
				}
			})
		}
		shut()
		f.retire(t.Context(), 500*time.Microsecond)
		all.Wait()
		answered, unread = answered+int(good.Load()), unread+int(lost.Load())
	}
	t.Logf("%d answered, %d found the connection closed", answered, unread)
}

func roundTrip(c net.Conn) (string, error) {
	_, body, err := exchange(c)
	return body, err
}

// exchange sends a request in two parts, so that heads are often under way.
func exchange(c net.Conn) (*http.Response, string, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(c, "Content-Length: 5\r\n\r\nhello"); err != nil {
		return nil, "", err
	}
	return readAnswer(c)
}

func readAnswer(c net.Conn) (*http.Response, string, error) {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// frontOn serves h on ln without a Server around. shut closes the socket.
func frontOn(t *testing.T, ln net.Listener, l *config.Listener, h http.HandlerFunc) (f *front, shut func()) {
	log := slog.New(slog.DiscardHandler)
	sock := newSocket("test", ln, log)
	f = newFront("test", l, ln.Addr(), obs.NewMetrics(obs.Build{}).Listener("test"), newCaps(&budget{limit: 1 << 20}), log)
	f.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOfRequest(r)
		c.begin(r.ProtoMajor == 1)
		defer c.done()
		h(w, r)
	}))
	var served sync.WaitGroup
	served.Go(f.run)
	sock.serve(f)
	shut = sync.OnceFunc(sock.close)
	t.Cleanup(func() {
		shut()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		f.retire(ended, 0)
		served.Wait()
	})
	return f, shut
}

// TestShutdownOrder follows one shutdown with a slow request, a tunnel and an
// idle connection.
func TestShutdownOrder(t *testing.T) {
	release := make(chan struct{})
	h := prepare(t, settings(1, web+"shutdown: {delay: 1500ms, lame_duck: 200ms, grace: 3s}\n"), func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-release
		case "/tunnel":
			echo(w)
			return
		}
		_, _ = io.WriteString(w, "hello")
	}).open()
	ln := h.doors[doorKey("web", 0, "127.0.0.1:0")].socket.ln
	idle, tunnel, slow := dial(t, ln.Addr()), dial(t, ln.Addr()), dial(t, ln.Addr())
	openTunnel(t, tunnel)
	var slowly sync.WaitGroup
	slowly.Go(func() {
		if _, err := io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Error(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
		if err != nil {
			t.Errorf("slow request: %v", err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		if string(body) != "hello" || !resp.Close {
			t.Errorf("slow request: %q, close %t", body, resp.Close)
		}
	})
	h.wantGet("hello")
	begin := time.Now()
	h.stop()
	h.log.wait(t, "shutting down", 1)
	h.wantGet("hello") // while the load balancer learns
	if ok, _ := h.Ready(); ok {
		t.Error("ready while shutting down")
	}
	if n, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("idle connection: %d %v", n, err)
	}
	if took := time.Since(begin); took < 1700*time.Millisecond {
		t.Errorf("idle connections were closed after %s", took)
	}
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the listener is still open")
	}
	if _, err := io.WriteString(tunnel, "ping"); err != nil {
		t.Errorf("tunnel: %v", err)
	}
	pong := make([]byte, 4)
	if _, err := io.ReadFull(tunnel, pong); err != nil || string(pong) != "ping" {
		t.Errorf("tunnel: %q %v", pong, err)
	}
	close(release)
	slowly.Wait()
	if _, err := tunnel.Read(pong); err == nil {
		t.Error("the tunnel was not closed at the end of the grace")
	}
	h.wait()
	if took := time.Since(begin); took > 4700*time.Millisecond+patience/4 {
		t.Errorf("took %s", took)
	}
	if n, _ := h.log.count("drained=false"); n != 1 {
		t.Error("the log does not say that something was cut off")
	}
}

// echo upgrades a connection and sends back what it reads, as a fake of a proxied WebSocket.
func echo(w http.ResponseWriter) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "echo")
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	_ = rw.Flush()
	_, _ = io.Copy(c, rw)
}

func openTunnel(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 1024)
	n, err := c.Read(head)
	if err != nil || !strings.HasPrefix(string(head[:n]), "HTTP/1.1 101") {
		t.Fatalf("upgrade: %q %v", head[:n], err)
	}
}

func TestHurry(t *testing.T) {
	h := prepare(t, settings(1, web+"shutdown: {delay: 1h, lame_duck: 1h, grace: 1h}\n"), func(w http.ResponseWriter, r *http.Request) { echo(w) }).open()
	c := dial(t, h.Addrs()["web"])
	openTunnel(t, c)
	h.stop()
	h.log.wait(t, "shutting down", 1)
	h.Hurry()
	h.Hurry()
	h.wait()
}

func TestShutdownDuringReload(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	h.mu.Lock()
	h.empty = []string{"u"} // the next one waits for endpoints
	h.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := h.Reload(t.Context(), TriggerSignal)
		done <- err
	}()
	for { // until the load waits
		h.mu.Lock()
		n := len(h.snapshots)
		h.mu.Unlock()
		if n == 2 {
			break
		}
		<-time.After(time.Millisecond)
	}
	h.stop()
	if err := <-done; !errors.Is(err, errStopping) {
		t.Errorf("reload: %v", err)
	}
	h.wait()
	if got := h.snapshots[1].state.Load(); got != closed {
		t.Errorf("the new snapshot has state %d", got)
	}
}

// exhausted is a listener without descriptors for a while.
type exhausted struct {
	net.Listener
	left atomic.Int32
}

var errFiles = errors.New("accept: too many open files")

func (e *exhausted) Accept() (net.Conn, error) {
	if e.left.Add(-1) >= 0 {
		return nil, errFiles
	}
	return e.Listener.Accept()
}

func TestFault37AcceptBacksOff(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &exhausted{Listener: ln}
	e.left.Store(6)
	begin := time.Now()
	frontOn(t, e, &config.Listener{Protocols: []string{"h1"}}, say("whole"))
	c := dial(t, ln.Addr())
	if body, err := roundTrip(c); err != nil || body != "whole" {
		t.Errorf("%q %v", body, err)
	}
	// 5 + 10 + 20 + 40 + 80 + 160 ms: pauses, and not a loop that burns a core.
	if took := time.Since(begin); took < 315*time.Millisecond {
		t.Errorf("six errors took %s", took)
	}
}
