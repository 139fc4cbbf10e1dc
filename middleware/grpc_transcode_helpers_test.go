package middleware_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/demo"
	"github.com/pithead/pithead/gateway/proxy"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// grpcCluster sends requests to a real server over h2c.
type grpcCluster struct {
	*middlewaretest.Cluster
	transport *http.Transport
	addr      string
	mark      uint64
}

// RoundTrip implements http.RoundTripper.
func (c *grpcCluster) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", c.addr, ""
	return c.transport.RoundTrip(out)
}

func (c *grpcCluster) EndpointsMark() uint64 { return c.mark }

func newGRPCCluster(t testing.TB, addr string) *grpcCluster {
	t.Helper()
	tr := &http.Transport{
		Protocols: new(http.Protocols), DisableCompression: true,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 20}, // as gateway/upstream has it
	}
	tr.Protocols.SetUnencryptedHTTP2(true)
	var mu sync.Mutex
	var conns []net.Conn
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			conns = append(conns, conn)
		}
		return conn, err
	}
	t.Cleanup(func() { // one whose last stream has just been cancelled is not idle yet
		tr.CloseIdleConnections()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_ = conn.Close() // it may be closed
		}
	})
	return &grpcCluster{Cluster: middlewaretest.NewCluster("orders"), transport: tr, addr: addr, mark: 1}
}

// gatewayOf serves a route with the block in front of an upstream, and says where.
// ended gets the exchange of each request that is over.
func gatewayOf(t testing.TB, addr, block string) (base string, ended chan *gateway.Exchange) {
	t.Helper()
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	to := newGRPCCluster(t, addr)
	env.To = to
	step := middlewaretest.Build(t, env, block)
	if step.Start != nil {
		for _, ready := range step.Start() {
			<-ready
		}
	}
	h := step.Wrap(proxy.New(proxy.Options{}))
	ended = make(chan *gateway.Exchange, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &gateway.Exchange{Start: time.Now(), Scheme: "http", Cluster: to, Upstream: "orders", Subject: r.Header.Get("X-Test-Subject")}
		r = gateway.WithExchange(r, x)
		x.Request = r
		defer func() { ended <- x }()
		h.ServeHTTP(w, r)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, ended
}

// shopGateway is a gateway before the demo's service.
func shopGateway(t testing.TB, settings string) (string, chan *gateway.Exchange) {
	t.Helper()
	s, err := demo.StartOrders("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return gatewayOf(t, s.Addr, "grpc_transcode: {"+settings+"}")
}

// documented are the settings for the contract in configs/.
func documented(t testing.TB, more string) string {
	t.Helper()
	dir, err := filepath.Abs("../configs/grpc")
	if err != nil {
		t.Fatal(err)
	}
	return "openapi: " + dir + "/orders.openapi.yaml, descriptors: {protos: [" + dir + "/orders.proto]}" + more
}

type answered struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// call sends a request: "POST /path\nName: value", and a body.
func call(t testing.TB, base, head, body string) answered {
	t.Helper()
	lines := strings.Split(head, "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answered{res.StatusCode, res.Header, string(text), err}
}

// frame is a message as gRPC sends it.
func frame(flag byte, msg string) string {
	b := binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(msg)))
	return string(b) + msg
}

// hostileGRPC is an upstream that answers what h says. Its address is returned.
func hostileGRPC(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		h(w, r)
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}
