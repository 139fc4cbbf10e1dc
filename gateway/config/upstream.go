package config

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// Upstream is a service behind the gateway.
type Upstream struct {
	// Discover is the source of the endpoints: `{static: ...}`, `{file: ...}`, `{dns: ...}`, `{consul: ...}`. Required.
	Discover *Block `yaml:"discover,required" kinds:"discovery source"`
	// Protocol is `http`, `https` or `h2c` (gRPC without TLS). `https` negotiates HTTP/2. Default: http.
	Protocol string `yaml:"protocol"`
	// Host is sent as Host instead of what the client asked for.
	Host string `yaml:"host"`
	// Balance is the load-balancing policy. Default: round_robin.
	Balance *Block `yaml:"balance" kinds:"balancing policy"`
	// Arms are named subsets of the endpoints.
	Arms map[string]*Arm `yaml:"arms"`
	// Health are active checks. Default: none, every discovered endpoint is used.
	Health *Health `yaml:"health"`
	// TLS is for protocol https.
	TLS *UpstreamTLS `yaml:"tls"`
	// Timeouts end attempts that are too slow.
	Timeouts UpstreamTimeouts `yaml:"timeouts"`
	// MaxIdle is how many idle connections are kept to one endpoint. Default: 64.
	MaxIdle int `yaml:"max_idle"`
	// Zone prefers the endpoints that are near. Default: none, all zones are alike.
	Zone *Zone `yaml:"zone"`
	// SlowStart is the time over which an endpoint that joins the others, or comes
	// back healthy, gets from 10 % of its weight to all of it, in ten equal steps.
	// The endpoints that are there at the start have their whole weight at once.
	// At least 1s. Default: off.
	SlowStart time.Duration `yaml:"slow_start"`
}

// Arm selects endpoints by label. All given conditions must hold.
type Arm struct {
	// Tag that the endpoint must have.
	Tag string `yaml:"tag"`
	// Meta that the endpoint must have, key by key.
	Meta map[string]string `yaml:"meta"`
}

// Zone keeps requests near: only healthy endpoints of the preferred zone get them
// as long as both conditions hold, and all healthy endpoints by their weights as
// soon as one does not. Each arm is judged by its own endpoints. An endpoint
// whose connection fails is made up for by those of other zones too.
type Zone struct {
	// Prefer is the zone of the gateway, as discovery calls it; `${ZONE:-}` takes
	// it from the environment. Empty prefers none. Required.
	Prefer string `yaml:"prefer,required"`
	// MinEndpoints is how many endpoints of the zone must be healthy. Default: 2.
	MinEndpoints int `yaml:"min_endpoints"`
	// MinHealthy is the share of the zone's endpoints, by weight, that must be
	// healthy, 0 to 1. Default: 0.7.
	MinHealthy float64 `yaml:"min_healthy"`
}

// SetDefaults sets the values that the comments of the fields name.
func (z *Zone) SetDefaults() { z.MinEndpoints, z.MinHealthy = 2, 0.7 }

// Validate checks the numbers.
func (z *Zone) Validate() error {
	var f faults
	f.number("min_endpoints", z.MinEndpoints, 1, 10_000)
	if !(z.MinHealthy >= 0 && z.MinHealthy <= 1) { // not NaN either
		f.at("min_healthy", "%v is not between 0 and 1; 0.7 is 70 %%", z.MinHealthy)
	}
	return f.err()
}

// Health is an active HTTP check of each endpoint.
type Health struct {
	// Path is asked for with GET. Required.
	Path string `yaml:"path,required"`
	// Interval between two checks of an endpoint. Default: 5s.
	Interval time.Duration `yaml:"interval"`
	// Timeout of one check, not longer than the interval. Default: 3s, or the interval if that is shorter.
	Timeout time.Duration `yaml:"timeout"`
	// Healthy is how many successes in a row bring an endpoint back. Default: 2.
	Healthy int `yaml:"healthy"`
	// Unhealthy is how many failures in a row take an endpoint out. Default: 3.
	Unhealthy int `yaml:"unhealthy"`
	// Statuses that count as success. Default: 200 to 399.
	Statuses []int `yaml:"statuses"`
}

// UpstreamTLS says how endpoints prove themselves.
type UpstreamTLS struct {
	// CA is a PEM file with the certificate authorities. Default: the system's.
	CA string `yaml:"ca"`
	// ServerName is the name the certificate must have, and the SNI. Default: the endpoint's host.
	ServerName string `yaml:"server_name"`
	// Certificate is what the gateway shows to the endpoint.
	Certificate *Certificate `yaml:"certificate"`
}

// UpstreamTimeouts bound how long an upstream may take.
type UpstreamTimeouts struct {
	// Connect is the time for a new connection. Default: 2s.
	Connect time.Duration `yaml:"connect"`
	// TLSHandshake is the time for the handshake of a new connection. Default: 5s.
	TLSHandshake time.Duration `yaml:"tls_handshake"`
	// Response is the time from the last byte of the request to the head of the
	// answer. Not for gRPC, SSE and upgraded connections. Default: 30s.
	Response time.Duration `yaml:"response"`
	// BodyIdle is the longest pause in the body of an answer. Not for gRPC, SSE and upgraded connections. Default: 60s.
	BodyIdle time.Duration `yaml:"body_idle"`
	// StreamIdle is the longest pause of gRPC, SSE and upgraded connections, both ways. Default: 1h.
	StreamIdle time.Duration `yaml:"stream_idle"`
	// Idle is how long an unused connection is kept. It must be shorter than the upstream's own. Default: 4s.
	Idle time.Duration `yaml:"idle"`
}

// SetDefaults sets the values that the comments of the fields name.
func (u *Upstream) SetDefaults() { u.Protocol, u.MaxIdle = "http", 64 }

// SetDefaults sets the values that the comments of the fields name.
func (h *Health) SetDefaults() {
	*h = Health{Interval: 5 * time.Second, Timeout: 3 * time.Second, Healthy: 2, Unhealthy: 3}
}

// SetDefaults sets the values that the comments of the fields name.
func (t *UpstreamTimeouts) SetDefaults() {
	*t = UpstreamTimeouts{
		Connect: 2 * time.Second, TLSHandshake: 5 * time.Second, Response: 30 * time.Second,
		BodyIdle: 60 * time.Second, StreamIdle: time.Hour, Idle: 4 * time.Second,
	}
}

// Validate checks what an upstream says of itself.
func (u *Upstream) Validate() error {
	var f faults
	f.oneOf("protocol", u.Protocol, "http", "https", "h2c")
	if u.TLS != nil && u.Protocol != "https" {
		f.at("tls", "needs protocol: https")
	}
	if u.Host != "" {
		if err := checkHostPort(u.Host); err != nil {
			f.at("host", "%w", err)
		}
	}
	for name := range u.Arms {
		if !nameForm.MatchString(name) {
			f.at("arms."+name, "%s", badName(name))
		}
	}
	f.number("max_idle", u.MaxIdle, 1, 100_000)
	if u.SlowStart != 0 {
		f.time("slow_start", u.SlowStart, time.Second)
	}
	return f.err()
}

// Validate refuses an arm without a condition: it would be the whole upstream.
func (a *Arm) Validate() error {
	if a.Tag == "" && len(a.Meta) == 0 {
		return kind.At("", "an arm needs a tag or meta")
	}
	return nil
}

// Validate checks the numbers of a health check.
func (h *Health) Validate() error {
	var f faults
	switch _, err := url.ParseRequestURI(h.Path); {
	case !strings.HasPrefix(h.Path, "/"):
		f.at("path", "%q does not begin with a slash", h.Path)
	case strings.Contains(h.Path, "#"):
		f.at("path", "%q holds a #, which no request has; write %%23 for the character itself", h.Path)
	case err != nil:
		f.at("path", "%q is no path of a request; a %% is written %%25", h.Path)
	}
	f.time("interval", h.Interval, 10*time.Millisecond)
	f.time("timeout", h.Timeout, time.Millisecond)
	f.number("healthy", h.Healthy, 1, 100)
	f.number("unhealthy", h.Unhealthy, 1, 100)
	for i, status := range h.Statuses {
		f.number("statuses["+strconv.Itoa(i)+"]", status, 100, 599)
	}
	return f.err()
}

// Validate checks that every time has an end.
func (t *UpstreamTimeouts) Validate() error {
	var f faults
	f.time("connect", t.Connect, 1)
	f.time("tls_handshake", t.TLSHandshake, 1)
	f.time("response", t.Response, 1)
	f.time("body_idle", t.BodyIdle, 1)
	f.time("stream_idle", t.StreamIdle, 1)
	f.time("idle", t.Idle, 1)
	return f.err()
}
