package upstream

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
)

// An endpoint that could not be connected to is tried again after a second, and
// less often the longer it is away, but often enough to be back in ten seconds.
const (
	probeFirst = time.Second
	probeLast  = 5 * time.Second
)

// probes open a connection to endpoints that are ejected because there was none.
// That costs nothing that would be worth waiting for, and no request has to find
// out whether an instance that was restarted is back.
type probes struct {
	ctx     context.Context
	cancel  context.CancelFunc
	runs    sync.WaitGroup
	running map[string]bool // by address; guarded by Cluster.mu
}

func newProbes() *probes {
	p := &probes{running: make(map[string]bool)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *probes) close() {
	p.cancel()
	p.runs.Wait()
}

// probe tries to connect to ep once. The caller holds c.mu.
func (c *Cluster) probe(ep *gateway.Endpoint) {
	if c.probes.running[ep.Addr] || c.closed.Load() {
		return
	}
	c.probes.running[ep.Addr] = true
	c.probes.runs.Go(func() {
		err := c.connect(c.probes.ctx, ep.Addr)
		c.mu.Lock()
		delete(c.probes.running, ep.Addr)
		c.mu.Unlock()
		e := ep.Stats.Conduct.Ejection.Load()
		if c.probes.ctx.Err() != nil || e == nil || e.Reason != ejectNames[ejectConnect] {
			return
		}
		if err == nil {
			c.readmitOne(ep, e)
		} else {
			now, later := time.Now(), *e
			later.Until = now.Add(spread(min(max(now.Sub(e.At), probeFirst), probeLast)))
			ep.Stats.Conduct.Ejection.CompareAndSwap(e, &later)
		}
		c.flipped()
	})
}

// connect opens a connection as an attempt would, and closes it.
func (c *Cluster) connect(ctx context.Context, addr string) error {
	conn, err := c.pool.current.Load().dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing was said on it
	if c.opts.Protocol != "https" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeouts.TLSHandshake)
	defer cancel()
	return tls.Client(conn, handshakeConfig(&c.opts, addr)).HandshakeContext(ctx)
}
