package upstream

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// traced is a request as it comes from the proxy core.
func traced(t testing.TB, addr string, x *gateway.Exchange) *http.Request {
	t.Helper()
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return gateway.WithExchange(r, x)
}

func goThrough(t testing.TB, c *Cluster, r *http.Request) {
	t.Helper()
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

func TestConnectIsMeasured(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, nil)
	c := start(t, at(addr), nil)
	for _, fresh := range []bool{true, false} {
		x := &gateway.Exchange{Anatomy: gateway.Anatomy{Sampled: true}}
		goThrough(t, c, traced(t, addr, x))
		a := &x.Anatomy
		if a.Opening || a.Attempt.IsZero() || a.Connected.IsZero() == fresh || fresh && a.Connected.Before(a.Attempt) {
			t.Errorf("a new connection is %v: %+v", fresh, a)
		}
		if a.Upstream.RoundTrip <= 0 || a.Upstream.RoundTrip > time.Second {
			t.Errorf("a round trip of %v", a.Upstream.RoundTrip)
		}
	}
	x := &gateway.Exchange{}
	goThrough(t, c, traced(t, addr, x))
	if x.Anatomy.Upstream != (gateway.UpstreamSocket{}) {
		t.Error("the kernel was asked about a request that was not sampled")
	}
}

func TestWaitForRoomIsMeasured(t *testing.T) {
	let := make(chan struct{})
	addr := serve(t, func(http.ResponseWriter, *http.Request) { <-let }, nil)
	c := start(t, at(addr), func(o *Options) { o.Limits = Limits{Requests: 1, Queue: 1, QueueTimeout: time.Minute} })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		goThrough(t, c, traced(t, addr, &gateway.Exchange{}))
	}()
	for c.set.Load().members[0].ep.Stats.Active.Load() == 0 {
		<-time.After(time.Millisecond)
	}
	go func() {
		for c.Waiting() == 0 {
			<-time.After(time.Millisecond)
		}
		<-time.After(30 * time.Millisecond)
		close(let)
	}()
	x := &gateway.Exchange{}
	goThrough(t, c, traced(t, addr, x))
	<-ended
	if room := x.Anatomy.Room; room < 30*time.Millisecond || room > 10*time.Second {
		t.Errorf("waited %v for room", room)
	}
}

// A request that is not sampled pays with no allocation.
func TestAllocationsOfHearing(t *testing.T) {
	c := start(t, at("10.0.0.1:80"), nil)
	x := &gateway.Exchange{Route: "r", Anatomy: gateway.Anatomy{Watch: &gateway.Watch{Slow: time.Second}}}
	r := traced(t, "10.0.0.1:80", x)
	a := &attempt{c: c, x: x, ep: c.set.Load().members[0].ep, socket: &trackedConn{}}
	info := httptrace.GotConnInfo{Conn: &trackedConn{}, WasIdle: true, Reused: true}
	now := time.Now()
	x.Anatomy.Begin(now)
	n := testing.AllocsPerRun(1000, func() {
		hook := a.follow(r)
		hook.trace.GotConn(info)
		hook.end()
		a.askKernel(now)
	})
	if n > 0 && !raceDetector { // under which pools forget on purpose
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHearing(b *testing.B) {
	c := start(b, at("10.0.0.1:80"), nil)
	x := &gateway.Exchange{Route: "r", Anatomy: gateway.Anatomy{Watch: &gateway.Watch{Slow: time.Second}}}
	r := traced(b, "10.0.0.1:80", x)
	a := &attempt{c: c, x: x, ep: c.set.Load().members[0].ep}
	info := httptrace.GotConnInfo{Conn: &trackedConn{}, WasIdle: true, Reused: true}
	now := time.Now()
	x.Anatomy.Begin(now)
	b.ReportAllocs()
	for b.Loop() {
		hook := a.follow(r)
		hook.trace.GotConn(info)
		hook.end()
		a.askKernel(now)
	}
}
