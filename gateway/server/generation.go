package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/pace"
)

// snapshot is what a generation needs of *build.Snapshot.
type snapshot interface {
	http.Handler
	Start()
	Wait(ctx context.Context) (empty []string)
	TLS(listener string) *tls.Config
	Ready() (missing []string)
	Lacking() (what []string, wait bool)
	Close() error
}

// generation is a configuration in use, and the count of its users.
type generation struct {
	number  uint64
	config  *config.Config
	files   []string
	second  map[string][32]byte // what secondFiles hold
	trigger string
	changes config.Changes // since the generation before
	snap    snapshot
	scope   *keep.Scope
	log     *obs.AccessLog
	routes  map[string]*obs.Route
	addrs   map[string]net.Addr
	lanes   [laneCount]lane
}

// laneCount spreads the count of a generation's requests, so that cores do not
// fight for one cache line at each request.
const laneCount = 16

type lane struct {
	users atomic.Int64
	_     [56]byte
}

// newGeneration compiles a configuration. Nothing is started by it.
func (s *Server) newGeneration(c *config.Config) (*generation, error) {
	snap, err := s.compile(c)
	if err != nil {
		return nil, err
	}
	g := &generation{config: c, snap: snap, scope: s.pool.Scope()}
	output := c.AccessLog.Output
	if output != "stdout" && output != "stderr" && output != "off" {
		output = c.Path(&c.AccessLog.Output, output)
	}
	key := "access_log/" + c.AccessLog.Format + "/" + output
	g.log, err = keep.Get(g.scope, key, func() (*obs.AccessLog, error) {
		return obs.OpenAccessLog(output, c.AccessLog.Format, s.metrics)
	})
	if err != nil {
		s.end(g)
		return nil, c.Errorf(&c.AccessLog, "%w", err)
	}
	return g, nil
}

// count makes the metric handles of the routes, or takes over those of the generation
// before. They are looked up once here and not by each request.
func (g *generation) count(m *obs.Metrics, old *generation) {
	if old != nil && len(g.changes.Routes.Added)+len(g.changes.Routes.Removed) == 0 {
		g.routes = old.routes
		return
	}
	p := pace.New()
	g.routes = make(map[string]*obs.Route, len(g.config.Routes)+1)
	g.routes[""] = m.Route("")
	for _, r := range g.config.Routes {
		p.Step()
		g.routes[r.Name] = m.Route(r.Name)
	}
}

// acquire returns the current generation, which stays open until release.
func (s *Server) acquire(lane uint32) *generation {
	for {
		g := s.current.Load()
		g.lanes[lane].users.Add(1)
		if s.current.Load() == g {
			return g
		}
		g.release(lane) // replaced in between: it may be closed already
	}
}

func (g *generation) release(lane uint32) { g.lanes[lane].users.Add(-1) }

func (g *generation) used() bool {
	for i := range g.lanes {
		if g.lanes[i].users.Load() != 0 {
			return true
		}
	}
	return false
}

// endWhenUnused closes a generation that was replaced when its last request
// has been answered, or when the process has no more time.
func (s *Server) endWhenUnused(g *generation) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for g.used() {
		select {
		case <-tick.C:
		case <-s.life.Done():
			s.end(g)
			return
		}
	}
	s.end(g)
}

func (s *Server) end(g *generation) {
	if err := g.snap.Close(); err != nil {
		s.log.Warn("closing a configuration", "generation", g.number, "error", err)
	}
	if err := g.scope.Close(); err != nil {
		s.log.Warn("closing the access log", "generation", g.number, "error", err)
	}
}

// tlsFor finds the certificates of a listener in the current generation. A
// connection that was accepted just before its listener went gets those of the
// generation that it was accepted under.
func (s *Server) tlsFor(name string, first *tls.Config) func() (*tls.Config, error) {
	return func() (*tls.Config, error) {
		if g := s.current.Load(); g != nil {
			if conf := g.snap.TLS(name); conf != nil {
				return conf, nil
			}
		}
		return first, nil
	}
}

// secondFiles are the files that a configuration refers to and that change on
// their own, as certificates do when they are renewed.
func secondFiles(c *config.Config) []string {
	var paths []string
	pair := func(p *config.Certificate) {
		paths = append(paths, c.Path(&p.Cert, p.Cert), c.Path(&p.Key, p.Key))
	}
	authorities := func(client *config.ClientTLS) {
		if client == nil {
			return
		}
		for i, ca := range client.CA {
			paths = append(paths, c.Path(&client.CA[i], ca))
		}
	}
	for _, l := range c.Listeners {
		if l.TLS == nil {
			continue
		}
		for i := range l.TLS.Certificates {
			pair(&l.TLS.Certificates[i])
		}
		authorities(l.TLS.Client)
		for i := range l.TLS.Hosts {
			authorities(l.TLS.Hosts[i].Client)
		}
	}
	for _, u := range c.Upstreams {
		if u.TLS == nil {
			continue
		}
		if u.TLS.CA != "" {
			paths = append(paths, c.Path(&u.TLS.CA, u.TLS.CA))
		}
		if u.TLS.Certificate != nil {
			pair(u.TLS.Certificate)
		}
	}
	paths = append(paths, build.Files(c)...)
	slices.Sort(paths)
	return slices.Compact(paths)
}

// shrinkFrom and shrinkTo are the guard against half-written files: a file that
// was cut off can be valid and hold a third of its routes.
const (
	shrinkFrom = 20
	shrinkTo   = 0.7
)

// guardShrink refuses a change that takes too many routes away at once.
func guardShrink(old, next *config.Config) error {
	before, after := len(old.Routes), len(next.Routes)
	if next.Reload.AllowShrink || before < shrinkFrom || float64(after) >= shrinkTo*float64(before) {
		return nil
	}
	return fmt.Errorf("%d of %d routes would be gone: if that is meant, ask for a reload explicitly or set reload.allow_shrink", before-after, before)
}
