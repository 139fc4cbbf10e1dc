package build

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"slices"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/route"
	"github.com/pithead/pithead/gateway/upstream"
)

// Snapshot is one generation of the configuration at work. It never changes;
// a reload replaces it. Requests finish on the snapshot that they began with.
type Snapshot struct {
	Config *config.Config

	scope    *keep.Scope
	tls      map[string]*tls.Config   // by listener
	canon    map[string]*canon.Policy // by listener
	table    *route.Table
	routes   []*compiledRoute // parallel to Config.Routes
	clusters map[string]*upstream.Cluster
}

// ServeHTTP serves a request that has an exchange: refuse or canonicalise,
// match, run the chain.
func (s *Snapshot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := gateway.ExchangeOf(r)
	rt, err := s.route(r, x)
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
// even if it refuses the request.
func (s *Snapshot) route(r *http.Request, x *gateway.Exchange) (*compiledRoute, error) {
	policy, ok := s.canon[x.Listener]
	if !ok {
		return nil, errNoRoute // the listener went away with a reload
	}
	encoded, err := policy.Request(r, x)
	if err != nil {
		return nil, err
	}
	match := s.table.Match(r)
	if match.Rule < 0 {
		return nil, errNoRoute
	}
	rt := s.routes[match.Rule]
	x.Route = rt.name
	x.Cluster, x.Upstream = rt.to, rt.to.Name()
	return rt, rt.allow.Check(encoded)
}

// TLS is the TLS configuration of a listener, nil for one without TLS.
func (s *Snapshot) TLS(listener string) *tls.Config { return s.tls[listener] }

// Start begins discovery and health checks of the upstreams that are new in
// this snapshot.
func (s *Snapshot) Start() {
	for _, c := range s.clusters {
		c.Start()
	}
}

// Wait returns when every upstream has had its first set of endpoints, or ctx
// ends; empty are the names of those that still have none.
func (s *Snapshot) Wait(ctx context.Context) (empty []string) {
	for name, c := range s.clusters {
		select {
		case <-c.Filled():
		case <-ctx.Done():
			select {
			case <-c.Filled():
			default:
				empty = append(empty, name)
			}
		}
	}
	slices.Sort(empty)
	return empty
}

// Ready names the upstreams that a route needs and that have no healthy
// endpoint yet, because none was ever known.
func (s *Snapshot) Ready() (missing []string) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Wait(ended)
}

// Clusters are the upstreams by name, sorted.
func (s *Snapshot) Clusters() []*upstream.Cluster {
	all := make([]*upstream.Cluster, 0, len(s.clusters))
	for _, name := range slices.Sorted(maps.Keys(s.clusters)) {
		all = append(all, s.clusters[name])
	}
	return all
}

// Close ends what no other snapshot shares. Requests in flight are not cut off.
func (s *Snapshot) Close() error { return s.scope.Close() }
