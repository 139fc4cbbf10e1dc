package upstream

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
)

// maxCheckBody bounds what is read of a check's answer.
const maxCheckBody = 64 << 10

// HealthOptions say how endpoints are checked. Zero values mean the defaults.
type HealthOptions struct {
	Path      string        // asked for with GET; may have a query
	Interval  time.Duration // between two checks of an endpoint; default 5s
	Timeout   time.Duration // of one check; default 3s
	Healthy   int           // successes in a row that bring an endpoint back; default 2
	Unhealthy int           // failures in a row that take it out; default 3
	Statuses  []int         // that count as success; default 200 to 399
}

// checks runs the active checks of a cluster: one goroutine for each endpoint,
// so that one that hangs delays no other.
type checks struct {
	HealthOptions
	c         *Cluster
	transport *http.Transport
	ctx       context.Context
	cancel    context.CancelFunc
	runs      sync.WaitGroup
	running   map[string]context.CancelFunc // by address; guarded by Cluster.mu
}

func newChecks(c *Cluster, o HealthOptions) *checks {
	o.Interval = cmp.Or(o.Interval, 5*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 3*time.Second)
	o.Healthy = cmp.Or(o.Healthy, 2)
	o.Unhealthy = cmp.Or(o.Unhealthy, 3)
	h := &checks{HealthOptions: o, c: c, transport: newTransport(&c.opts), running: make(map[string]context.CancelFunc)}
	// Each check opens a connection: that the endpoint still accepts some is part
	// of the question.
	h.transport.DisableKeepAlives = true
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// follow starts checks of new endpoints and ends those of vanished ones. The
// caller holds Cluster.mu.
func (h *checks) follow(endpoints []*gateway.Endpoint) {
	gone := h.running
	h.running = make(map[string]context.CancelFunc, len(endpoints))
	for _, ep := range endpoints {
		stop, known := gone[ep.Addr]
		if !known {
			var ctx context.Context
			ctx, stop = context.WithCancel(h.ctx)
			k := &checker{checks: h, addr: ep.Addr, stats: ep.Stats, shown: ep.Stats.Unhealthy.Load()}
			h.runs.Go(func() { k.run(ctx) })
		}
		delete(gone, ep.Addr)
		h.running[ep.Addr] = stop
	}
	for _, stop := range gone {
		stop()
	}
}

func (h *checks) close() {
	h.cancel()
	h.runs.Wait()
	h.transport.CloseIdleConnections()
}

// checker checks one endpoint. It is taken to be well, or as earlier checks
// left it, until a threshold is reached.
type checker struct {
	*checks
	addr   string
	stats  *gateway.Stats
	streak int  // results in a row that contradict the state
	shown  bool // the state that the cluster's set was last told of: true is unhealthy
}

func (k *checker) run(ctx context.Context) {
	for {
		err := k.check(ctx)
		if ctx.Err() != nil {
			return
		}
		k.judge(err)
		// Checks of many gateways and endpoints drift apart.
		wait := k.Interval*9/10 + rand.N(k.Interval/5+1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (k *checker) judge(err error) {
	unhealthy := k.stats.Unhealthy.Load()
	if (err != nil) == unhealthy {
		k.streak = 0
	} else {
		k.streak++
	}
	switch {
	case !unhealthy && k.streak >= k.Unhealthy:
		k.streak, unhealthy = 0, true
		k.stats.Unhealthy.Store(true)
		k.c.opts.Log.Warn("endpoint unhealthy", "endpoint", k.addr, "error", err)
	case unhealthy && k.streak >= k.Healthy:
		k.streak, unhealthy = 0, false
		k.stats.Unhealthy.Store(false)
		k.c.opts.Log.Info("endpoint healthy again", "endpoint", k.addr)
	}
	// The state is shared with other generations of the upstream during a reload,
	// so it may also have been changed by their checks.
	if unhealthy != k.shown {
		k.shown = unhealthy
		k.c.flipped()
	}
}

// check asks the endpoint once.
func (k *checker) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	scheme := "http"
	if k.c.opts.Protocol == "https" {
		scheme = "https"
	}
	u, err := url.ParseRequestURI(k.Path)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	u.Scheme, u.Host = scheme, k.addr
	req := (&http.Request{
		Method: http.MethodGet, URL: u,
		Host: k.c.opts.Host, Header: http.Header{"User-Agent": {"pithead"}},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	resp, err := k.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	defer resp.Body.Close()
	if !k.succeeds(resp.StatusCode) {
		return fmt.Errorf("check: status %d", resp.StatusCode)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxCheckBody)); err != nil {
		return fmt.Errorf("check: read answer: %w", err)
	}
	return nil
}

func (k *checker) succeeds(status int) bool {
	if k.Statuses == nil {
		return status >= 200 && status < 400
	}
	return slices.Contains(k.Statuses, status)
}
