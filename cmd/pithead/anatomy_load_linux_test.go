package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pithead/pithead/bpf"
	"github.com/pithead/pithead/gateway/anatomy"
)

// crowd are clients that keep their connections.
type crowd struct {
	client       *http.Client
	url          string
	done, failed atomic.Int64
}

func newCrowd(t *testing.T, addr string) *crowd {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: crowdSize, MaxConnsPerHost: crowdSize}
	t.Cleanup(transport.CloseIdleConnections)
	return &crowd{client: &http.Client{Transport: transport, Timeout: patience}, url: "http://" + addr + "/"}
}

const crowdSize = 8

func (c *crowd) ask() {
	resp, err := c.client.Get(c.url)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		c.failed.Add(1)
		return
	}
	c.done.Add(1)
}

// run asks n times, all together.
func (c *crowd) run(n int) {
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range crowdSize {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				c.ask()
			}
		})
	}
	all.Wait()
}

// Every request is seen once on each side and, but for the first of a connection,
// under the label of its route.
func TestEveryRequestIsLabelled(t *testing.T) {
	group := controlGroup(t)
	d := startLabelled(t, group)
	d.probe = startProbe(t, group)
	n := 5000
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		n = 100_000
	}
	c := newCrowd(t, d.addr)
	c.run(n)
	if c.failed.Load() > 0 {
		t.Errorf("%d requests failed", c.failed.Load())
	}
	d.wantSeen(n, crowdSize)
}

// startLabelled is a gateway that samples a tenth of its requests.
func startLabelled(t *testing.T, group string) *dissected {
	t.Helper()
	back := httptest.NewServer(http.HandlerFunc(quick))
	t.Cleanup(back.Close)
	d := &dissected{gatewayUnderLoad: newGateway(t, "listeners: {web: {address: ADDRESS}}\nanatomy: {sample: 10%}\n")}
	d.save("routes.d/r.yaml", "upstreams: {u: {discover: {static: {targets: ['"+back.Listener.Addr().String()+"']}}}}\n"+
		"routes: [{name: r, match: {prefix: /}, to: u}]\n")
	inGroup(t, d.gatewayUnderLoad, group)
	d.run()
	return d
}

// wantSeen compares what the probe has counted with what there was: both sides have
// seen n requests, up to a few of which may be under way or without a name.
func (d *dissected) wantSeen(n, slack int) {
	d.t.Helper()
	var labels []anatomy.Named
	if _, text := d.get("/-/labels"); json.Unmarshal([]byte(text), &labels) != nil {
		d.t.Fatalf("labels: %s", text)
	}
	seen := d.probe.requests()
	for _, side := range []bpf.Side{bpf.Server, bpf.Upstream} {
		all, named := 0, 0
		for label, count := range seen[side] {
			all += count
			for _, l := range labels {
				if l.Label == label && l.Route == "r" && (l.Endpoint != "") == (side == bpf.Upstream) {
					named += count
				}
			}
		}
		if all < n-slack || all > n+slack || named < all-slack {
			d.t.Errorf("%s: %d requests, %d of them named; want %d, of %v", side, all, named, n, seen)
		}
	}
}

// A probe that is killed takes no request with it, and one that comes later finds
// connections that are tagged again.
func TestProbeKilledUnderLoad(t *testing.T) {
	group := controlGroup(t)
	d := startLabelled(t, group)
	first := startProbe(t, group)
	c := newCrowd(t, d.addr)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				c.run(100)
			}
		}
	}()
	d.until("some load", func() bool { return c.done.Load() > 500 })
	first.kill()
	at := c.done.Load()
	d.until("more load", func() bool { return c.done.Load() > at+500 })
	d.probe = startProbe(t, group)
	d.until("requests with names", func() bool {
		seen := d.probe.requests()
		return named(seen[bpf.Server]) > 100 && named(seen[bpf.Upstream]) > 100
	})
	close(stop)
	<-ended
	if c.failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", c.failed.Load(), c.failed.Load()+c.done.Load())
	}
}

// named are the requests that have a label.
func named(byLabel map[uint32]int) (n int) {
	for label, count := range byLabel {
		if label > 0 {
			n += count
		}
	}
	return n
}
