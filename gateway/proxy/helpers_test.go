package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests for something that must happen.
const patience = 10 * time.Second

// cluster sends everything to one address.
type cluster struct {
	*http.Transport
	addr string
}

func (c *cluster) Name() string          { return "orders" }
func (c *cluster) HasSubset(string) bool { return false }
func (c *cluster) Healthy(string) int    { return 1 }

func (c *cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.WithContext(r.Context())
	u := *r.URL
	u.Scheme, u.Host = "http", c.addr
	out.URL = &u
	return c.Transport.RoundTrip(out)
}

func protocols(h2c bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!h2c)
	p.SetUnencryptedHTTP2(h2c)
	return p
}

func newCluster(t testing.TB, addr string, h2c bool) *cluster {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, ExpectContinueTimeout: time.Second, Protocols: protocols(h2c)}
	t.Cleanup(tr.CloseIdleConnections)
	return &cluster{tr, addr}
}

// clusterFunc is a cluster without a network.
type clusterFunc func(*http.Request) (*http.Response, error)

func (f clusterFunc) Name() string                                      { return "orders" }
func (f clusterFunc) HasSubset(string) bool                             { return false }
func (f clusterFunc) Healthy(string) int                                { return 1 }
func (f clusterFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// serve runs h on a port of its own, for HTTP/1.1 and HTTP/2 without TLS.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	p := protocols(true)
	p.SetHTTP1(true)
	s := &http.Server{Handler: h, Protocols: p, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	l := listen(t)
	var wg sync.WaitGroup // of connections too: some linger for half a second
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			wg.Add(1)
		case http.StateClosed, http.StateHijacked:
			wg.Done()
		}
	}
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serveRaw hands each connection, after the head of a request, to handle.
func serveRaw(t testing.TB, handle func(net.Conn, *bufio.Reader, *http.Request)) string {
	t.Helper()
	l := listen(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					handle(c, br, r)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// reply is a raw upstream that answers every request with these bytes and closes.
func reply(t testing.TB, answer string) string {
	t.Helper()
	return serveRaw(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, answer)
		c.Close()
	})
}

// door is a gateway with nothing but the core.
type door struct {
	addr      string
	exchanges chan *gateway.Exchange // of requests that have ended
}

// open starts a gateway in front of c. Wrap, which may be nil, stands for
// the layers above the core.
func open(t testing.TB, c gateway.Cluster, wrap func(http.Handler) http.Handler) *door {
	t.Helper()
	d := &door{exchanges: make(chan *gateway.Exchange, 100)}
	h := proxy.New(proxy.Options{})
	if wrap != nil {
		h = wrap(h)
	}
	d.addr = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &gateway.Exchange{ID: "id-1", Start: time.Now(), Scheme: "http", Client: netip.MustParseAddr("127.0.0.1"), Cluster: c}
		defer func() {
			select {
			case d.exchanges <- x:
			default: // a test that sends many looks at none
			}
		}()
		h.ServeHTTP(w, gateway.WithExchange(r, x))
	}))
	return d
}

// exchange is the next one that has ended.
func (d *door) exchange(t testing.TB) *gateway.Exchange {
	t.Helper()
	select {
	case x := <-d.exchanges:
		return x
	case <-time.After(patience):
		t.Fatal("no exchange has ended")
		return nil
	}
}

// wantErr checks who is to blame for the next exchange that ends.
func (d *door) wantErr(t testing.TB, status int, reason string, cause gateway.Cause) {
	t.Helper()
	x := d.exchange(t)
	if x.Err == nil {
		t.Fatalf("no error, want %d %s", status, reason)
	}
	if x.Err.Status != status || x.Err.Reason != reason || x.Err.Cause != cause {
		t.Errorf("error %d %q by the %s (%v), want %d %q by the %s", x.Err.Status, x.Err.Reason, x.Err.Cause, x.Err, status, reason, cause)
	}
}

// raw is a client that speaks bytes.
type raw struct {
	net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &raw{c, bufio.NewReader(c)}
}

func (c *raw) send(t testing.TB, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// head reads the head of an answer, an interim one included.
func (c *raw) head(t testing.TB, method string) *http.Response {
	t.Helper()
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// answer reads a whole answer.
func (c *raw) answer(t testing.TB, method string) (*http.Response, string) {
	t.Helper()
	res := c.head(t, method)
	return res, body(t, res)
}

// wantClosed checks that nothing follows but the end of the connection.
func (c *raw) wantClosed(t testing.TB) {
	t.Helper()
	if b, err := c.br.ReadByte(); err == nil {
		t.Errorf("byte %q after the answer", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

func body(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("after %q: %v", b, err)
	}
	res.Body.Close()
	return string(b)
}

// client speaks HTTP/1.1, or HTTP/2 without TLS.
func client(t testing.TB, h2c bool) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, Protocols: protocols(h2c), ExpectContinueTimeout: time.Second}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func request(t testing.TB, method, addr, path string, b io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t testing.TB, c *http.Client, r *http.Request) *http.Response {
	t.Helper()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// seen is an upstream that remembers the last request and answers 200 "ok".
type seen struct {
	mu   sync.Mutex
	last *http.Request
	body string
}

func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	s.mu.Lock()
	s.last, s.body = r.Clone(context.Background()), string(b)
	s.mu.Unlock()
	if err == nil {
		_, _ = io.WriteString(w, "ok")
	}
}

func (s *seen) request(t testing.TB) *http.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		t.Fatal("the upstream has seen no request")
	}
	return s.last
}

func crlf(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
