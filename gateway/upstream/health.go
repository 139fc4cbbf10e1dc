package upstream

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
)

// HealthOptions say how endpoints are checked: by Path, TCP or GRPC, one of
// them. Zero values of the others mean the defaults.
type HealthOptions struct {
	Path string       // asked for with GET; may have a query
	TCP  bool         // whether a connection can be opened is all that counts
	GRPC *GRPCOptions // the health service of gRPC is asked

	Port      int           // in place of the endpoint's own; 0 keeps that
	Host      string        // sent as Host; default: that of requests
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
	transport *transport
	ask       func(*checker, context.Context) error
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
	o.Host = cmp.Or(o.Host, c.opts.Host)
	// Each check opens a connection: that the endpoint still accepts some is part
	// of the question.
	h := &checks{HealthOptions: o, c: c, transport: newTransport(&c.opts, false), running: make(map[string]context.CancelFunc)}
	switch {
	case o.TCP:
		h.ask = (*checker).askTCP
	case o.GRPC != nil:
		h.ask = (*checker).askGRPC
	default:
		h.ask = (*checker).askHTTP
	}
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
			k := &checker{checks: h, addr: ep.Addr, target: h.target(ep.Addr), stats: ep.Stats, shown: ep.Stats.Unhealthy.Load()}
			h.runs.Go(func() { k.run(ctx) })
		}
		delete(gone, ep.Addr)
		h.running[ep.Addr] = stop
	}
	for _, stop := range gone {
		stop()
	}
}

// target is the address that is checked in place of addr.
func (h *checks) target(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if h.Port == 0 || err != nil {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(h.Port))
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
	addr   string // of the endpoint
	target string // of its checks
	stats  *gateway.Stats
	streak int  // results in a row that contradict the state
	shown  bool // the state that the cluster's set was last told of: true is unhealthy
}

func (k *checker) run(ctx context.Context) {
	// A start of many gateways or upstreams must not be felt as a wave of checks,
	// and what they share from then on they do not share for long.
	wait := rand.N(k.Interval)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := k.check(ctx)
		if ctx.Err() != nil {
			return
		}
		k.judge(err)
		wait = k.Interval*9/10 + rand.N(k.Interval/5+1)
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
	if err := k.ask(k, ctx); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

// askTCP opens a connection and closes it.
func (k *checker) askTCP(ctx context.Context) error {
	conn, err := k.transport.dial(ctx, "tcp", k.target)
	if err != nil {
		return err
	}
	return conn.Close()
}
