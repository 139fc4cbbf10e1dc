package upstream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/anatomy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// registry is a source whose set the test changes.
type registry struct {
	mu      sync.Mutex
	targets []gateway.Target
	changed chan struct{}
}

func newRegistry(targets ...gateway.Target) *registry {
	return &registry{targets: targets, changed: make(chan struct{}, 1)}
}

func (r *registry) set(targets ...gateway.Target) {
	r.mu.Lock()
	r.targets = targets
	r.mu.Unlock()
	r.changed <- struct{}{}
}

func (r *registry) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	for {
		r.mu.Lock()
		targets := r.targets
		r.mu.Unlock()
		publish(targets)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.changed:
		}
	}
}

func at(addrs ...string) []gateway.Target {
	targets := make([]gateway.Target, len(addrs))
	for i, addr := range addrs {
		targets[i] = gateway.Target{Addr: addr}
	}
	return targets
}

// turns is the simplest policy there is: one after the other.
func turns(eps []*gateway.Endpoint) gateway.Picker {
	return &turnPicker{eps: append([]*gateway.Endpoint(nil), eps...)}
}

type turnPicker struct {
	eps []*gateway.Endpoint
	n   atomic.Uint64
}

func (p *turnPicker) Pick(*gateway.Exchange) *gateway.Endpoint {
	if len(p.eps) == 0 {
		return nil
	}
	return p.eps[p.n.Add(1)%uint64(len(p.eps))]
}

// start makes a running cluster that has its endpoints.
func start(t testing.TB, targets []gateway.Target, change func(*Options)) *Cluster {
	t.Helper()
	feed := NewFeed("orders", newRegistry(targets...), quiet)
	o := Options{Name: "orders", Feed: feed, Policy: turns, Kernel: anatomy.NewKernel(), Log: quiet}
	if change != nil {
		change(&o)
	}
	c := New(o)
	c.Start()
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), feed.Close()); err != nil {
			t.Error(err)
		}
	})
	<-c.Filled()
	return c
}

// listen serves each connection with handle until the test has ended.
func listen(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			conns.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		conns.Wait()
	})
	return l.Addr().String()
}

// serve runs a net/http server with handler.
func serve(t testing.TB, handler http.HandlerFunc, change func(*http.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), ReadHeaderTimeout: time.Minute}
	if change != nil {
		change(s)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if s.TLSConfig != nil {
			_ = s.ServeTLS(l, "", "")
			return
		}
		_ = s.Serve(l)
	})
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// request makes a request with an exchange, as the server would.
func request(t testing.TB, method string, body io.Reader) (*http.Request, *gateway.Exchange) {
	t.Helper()
	return requestContext(t.Context(), t, method, body)
}

func requestContext(ctx context.Context, t testing.TB, method string, body io.Reader) (*http.Request, *gateway.Exchange) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://api.example.com/v1/orders/7?x=1", body)
	if err != nil {
		t.Fatal(err)
	}
	x := &gateway.Exchange{Start: time.Now()}
	return gateway.WithExchange(r, x), x
}

// read takes the whole answer.
func read(t testing.TB, resp *http.Response) (string, error) {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); cerr != nil && err == nil {
		t.Errorf("close: %v", cerr)
	}
	return string(body), err
}

// wantError checks the classification of err.
func wantError(t testing.TB, err error, status int, reason string, cause gateway.Cause) {
	t.Helper()
	e, ok := errors.AsType[*gateway.Error](err)
	if !ok {
		t.Errorf("got %T %v, want a *gateway.Error", err, err)
		return
	}
	if e.Status != status || e.Reason != reason || e.Cause != cause {
		t.Errorf("got %d %s caused by %s (%v), want %d %s caused by %s", e.Status, e.Reason, e.Cause, e.Err, status, reason, cause)
	}
}

// wantStats checks the numbers of the only endpoint, and that nothing is on its way.
func wantStats(t testing.TB, c *Cluster, requests, failures uint64) {
	t.Helper()
	s := c.Endpoints()[0]
	if s.Active != 0 || s.Requests != requests || s.Failures != failures {
		t.Errorf("got %d active, %d requests, %d failures; want 0, %d, %d", s.Active, s.Requests, s.Failures, requests, failures)
	}
}
