package gateway

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// Target is what discovery says of one instance of a service.
type Target struct {
	Addr   string            // host:port; host is an IP address or a DNS name
	Weight int               // relative share of the load, 1 to 100
	Zone   string            // where it runs; "" is unknown
	Tags   []string          // labels without a value, sorted
	Meta   map[string]string // labels with a value
}

// Source tells a set of targets and every change of it.
type Source interface {
	// Watch calls publish with the whole set each time the source has
	// confirmed it, changed or not, until ctx ends. The first call comes as
	// soon as the whole set is known. A source that cannot reach its registry
	// keeps trying and publishes nothing meanwhile: the last set stays in use.
	// Watch returns an error only when trying again is useless.
	Watch(ctx context.Context, publish func([]Target)) error
}

// Dated is a source that may publish a set which was confirmed earlier: one that
// it remembers from before the process started.
type Dated interface {
	Source
	// Confirmed is when the set that Watch publishes right now was confirmed. It
	// is asked while publish runs.
	Confirmed() time.Time
}

// Endpoint is a target in use: where requests are sent.
type Endpoint struct {
	Target
	ID    uint64 // stands for the address within its upstream; the same in every process, and never 0
	Stats *Stats // never nil; shared by all generations of this address within its upstream
}

// Stats are the live numbers of one endpoint. They outlive reloads.
type Stats struct {
	Active    atomic.Int64  // requests on their way, until the end of the answer's body
	Requests  atomic.Uint64 // attempts begun
	Failures  atomic.Uint64 // attempts that failed by the upstream's or the network's fault
	Unhealthy atomic.Bool   // what active checks say; false until they have said something
	Latency   Latency       // kept while a policy follows it
	Conduct   Conduct       // what endpoints that do badly are ejected for
}

// Policy makes a picker for a set of healthy endpoints. It is called again on
// each change of the set and must not keep or change the slice.
type Policy func(eps []*Endpoint) Picker

// Picker chooses the endpoint of one attempt.
type Picker interface {
	// Pick returns nil only when the set is empty. It is on the hot path: no
	// locks shared by all requests, no allocations.
	Pick(x *Exchange) *Endpoint
}

// Cluster is an upstream as the layers above it see it: a name, a set of
// endpoints with named subsets, and a way to send a request to one of them.
type Cluster interface {
	http.RoundTripper
	Name() string
	// HasSubset says whether the configuration defines the subset.
	HasSubset(name string) bool
	// Healthy is the number of endpoints of a subset that would take a
	// request now; "" is the whole set. Hot path.
	Healthy(subset string) int
}
