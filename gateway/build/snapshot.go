package build

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/breaker"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/httpcache"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/limitview"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/route"
	"github.com/pithead/pithead/gateway/upstream"
)

// Snapshot is one generation of the configuration at work. It never changes;
// a reload replaces it. Requests finish on the snapshot that they began with.
type Snapshot struct {
	Config *config.Config

	metrics      *obs.Metrics
	scope        *keep.Scope
	ready        *atomic.Bool               // this process has been ready once; kept
	tls          map[string]*secureListener // by listener
	canon        map[string]*canon.Policy   // by listener, and "" for any other
	table        *route.Table
	matches      []matchOf        // by the rules of the table
	routes       []*compiledRoute // parallel to Config.Routes
	byConfig     map[*config.Route]*compiledRoute
	meanings     map[string]meaning // of the blocks under `middleware`
	clusters     map[string]*upstream.Cluster
	kept         map[*config.Upstream][]string // what a cluster has in keep, if its block says all that it is made of
	own          *upstream.Own
	breakers     *breaker.Registry
	caches       *httpcache.Registry
	limits       *limitview.Registry
	used         map[string]bool // upstreams that a route may send to
	register     *discovery.Registration
	watch        *gateway.Watch // of requests without a route
	pages        gateway.Pages  // of all routes and of none; nil leaves errors as they are
	pagesMeaning meaning
	awaited      []<-chan struct{} // closed when a step can do its work; set by Start
	close        func() error      // once
	patience     time.Time         // until when traffic should wait for what steps lack; set by Start
}

// ServeHTTP serves a request that has an exchange: refuse or canonicalise,
// match, run the chain.
func (s *Snapshot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := gateway.ExchangeOf(r)
	rt, err := s.route(r, x, false)
	if rt != nil {
		rt.metrics.Begin() // whoever ends the exchange calls End
	}
	if err != nil {
		gateway.Fail(w, r, err)
		return
	}
	rt.handler.ServeHTTP(w, r)
}

// route finds the route of r and enters it in x. It is not nil when one matches,
// even if it refuses the request. A dry run has no connection, only its name.
func (s *Snapshot) route(r *http.Request, x *gateway.Exchange, dry bool) (*compiledRoute, error) {
	x.Pages, x.Anatomy.Watch = s.pages, s.watch
	policy, ok := s.canon[x.Listener]
	if !ok {
		policy = s.canon[""] // the listener went with a reload, the connection is still to be served
	}
	encoded, err := policy.Request(r, x)
	if err != nil {
		return nil, err
	}
	if l := s.tls[x.Listener]; l != nil && r.TLS != nil {
		if err := l.refusal(r, dry); err != nil {
			return nil, err
		}
	}
	x.Request = r
	match := s.table.Match(r, x)
	if match.Rule < 0 {
		return nil, errNoRoute
	}
	rt := s.routes[s.matches[match.Rule].route]
	x.Route = rt.name
	x.Anatomy.Watch, x.Anatomy.Sampled = rt.watch, chance(rt.watch.Sample)
	if rt.to != nil {
		x.Cluster, x.Upstream = rt.to, rt.to.Name()
	}
	return rt, rt.allow.Check(encoded)
}

// TLS is the TLS configuration of a listener, nil for one without TLS. Where settings
// differ by host, its GetConfigForClient has them.
func (s *Snapshot) TLS(listener string) *tls.Config {
	if l := s.tls[listener]; l != nil {
		return l.own.config
	}
	return nil
}

// Start begins discovery and health checks of the upstreams that are new in
// this snapshot. It comes before the first request, and only if the snapshot is
// going to serve: metrics know its routes from here on.
func (s *Snapshot) Start() {
	if !s.ready.Load() {
		s.patience = time.Now().Add(lackingWait)
	}
	for _, r := range s.routes {
		if r.metrics == nil { // else it serves already
			r.metrics = s.metrics.Route(r.name)
		}
	}
	s.own.Set(ownAddresses(s.Config))
	for _, c := range s.clusters {
		c.Start()
	}
	for _, r := range s.routes {
		s.awaited = append(s.awaited, r.start()...)
	}
}

// Wait returns when discovery has told the endpoints of every upstream and the steps
// of the routes can do their work, or ctx ends; missing are the names of upstreams
// that discovery still has told nothing of.
func (s *Snapshot) Wait(ctx context.Context) (missing []string) {
	for name, c := range s.clusters {
		select {
		case <-c.Filled():
		case <-ctx.Done():
			if !filled(c) {
				missing = append(missing, name)
			}
		}
	}
	for _, ready := range s.awaited {
		select {
		case <-ready:
		case <-ctx.Done():
		}
	}
	slices.Sort(missing)
	return missing
}

func filled(c *upstream.Cluster) bool {
	select {
	case <-c.Filled():
		return true
	default:
		return false
	}
}

// Ready names the upstreams for whose sake no traffic should come here: those
// that discovery has told nothing of yet, then all that routes send to if none of
// them has a healthy endpoint. A service that is down is no reason by itself,
// since the others would go down with it. For the same reason, once this process
// has been ready, an upstream that a reload adds is not waited for.
func (s *Snapshot) Ready() (missing []string) {
	if !s.ready.Load() {
		for name, c := range s.clusters {
			if !filled(c) {
				missing = append(missing, name)
			}
		}
	}
	if missing == nil && !s.reaches() {
		missing = slices.Collect(maps.Keys(s.used)) // nil when there are no routes
	}
	if missing == nil {
		s.ready.Store(true)
	}
	slices.Sort(missing)
	return missing
}

// lackingWait is how long a process that has just started is given for what its steps
// lack. An issuer that is down must not keep the routes of all others down for longer.
const lackingWait = 10 * time.Second

// Lacking names what steps are without at this moment, and whose requests they refuse
// therefore, such as the keys of an issuer. wait says that traffic should not come here
// before they have it: for a while after the process has started.
func (s *Snapshot) Lacking() (what []string, wait bool) {
	for _, r := range s.routes {
		for _, step := range r.steps {
			if step.Lacking != nil {
				what = append(what, step.Lacking()...)
			}
		}
	}
	slices.Sort(what)
	return slices.Compact(what), len(what) > 0 && time.Now().Before(s.patience)
}

// reaches says whether any route would find an endpoint.
func (s *Snapshot) reaches() bool {
	for name := range s.used {
		if s.clusters[name].Healthy("") > 0 {
			return true
		}
	}
	return false
}

// Clusters are the upstreams by name, sorted.
func (s *Snapshot) Clusters() []*upstream.Cluster {
	all := make([]*upstream.Cluster, 0, len(s.clusters))
	for _, name := range slices.Sorted(maps.Keys(s.clusters)) {
		all = append(all, s.clusters[name])
	}
	return all
}

// Breakers are the circuit breakers at work.
func (s *Snapshot) Breakers() *breaker.Registry { return s.breakers }

// Caches are the caches of answers at work.
func (s *Snapshot) Caches() *httpcache.Registry { return s.caches }

// Limits are the limits at work.
func (s *Snapshot) Limits() *limitview.Registry { return s.limits }

// Close ends what no other snapshot shares. Requests in flight are not cut off.
func (s *Snapshot) Close() error { return s.close() }
