package middlewaretest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/pithead/pithead/gateway"
)

// Cluster is an upstream in memory. It answers what its handler says and
// remembers the last request.
type Cluster struct {
	name    string
	handler http.Handler

	mu      sync.Mutex
	healthy map[string]int
	err     error
	last    *http.Request
	count   int
}

var _ gateway.Cluster = (*Cluster)(nil)

// NewCluster makes an upstream with one healthy endpoint in each subset, one if
// there are no subsets. It answers 200 and an empty body.
func NewCluster(name string, subsets ...string) *Cluster {
	c := &Cluster{name: name, healthy: map[string]int{"": max(1, len(subsets))}}
	for _, subset := range subsets {
		c.healthy[subset] = 1
	}
	c.handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	return c
}

// Handle makes h the upstream's answer to everything. It is for setting up, not
// for while requests run.
func (c *Cluster) Handle(h http.HandlerFunc) *Cluster {
	c.handler = h
	return c
}

// SetHealthy changes the number of healthy endpoints of a subset; "" is all of
// the upstream, which does not follow from the subsets.
func (c *Cluster) SetHealthy(subset string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.healthy[subset] = n
}

// Break makes the upstream fail with err; nil mends it.
func (c *Cluster) Break(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Last is the last request that came here, with the headers that an upstream
// would get, and how many came before it and with it. It is nil for none.
func (c *Cluster) Last() (r *http.Request, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.count
}

// LastExchange is the exchange of the last request, nil for none.
func (c *Cluster) LastExchange() *gateway.Exchange {
	r, count := c.Last()
	if count == 0 {
		return nil
	}
	return gateway.ExchangeOf(r)
}

// Name implements gateway.Cluster.
func (c *Cluster) Name() string { return c.name }

// HasSubset implements gateway.Cluster.
func (c *Cluster) HasSubset(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.healthy[name]
	return ok && name != ""
}

// Healthy implements gateway.Cluster.
func (c *Cluster) Healthy(subset string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.healthy[subset]
}

// RoundTrip implements gateway.Cluster.
func (c *Cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.last, c.count = r, c.count+1
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	res := w.Result()
	res.Request, res.Header = r, maps.Clone(res.Header)
	return res, nil
}
