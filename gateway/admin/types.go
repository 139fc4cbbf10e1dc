package admin

import "time"

// ReloadResult is what a reload that succeeded has done.
type ReloadResult struct {
	Generation uint64   `json:"generation"`         // the one in use now
	Warnings   []string `json:"warnings,omitempty"` // such as an upstream without endpoints
	Changes    Changes  `json:"changes,omitzero"`   // since the generation before
}

// Generation is a configuration that came into use.
type Generation struct {
	Number   uint64    `json:"generation"`
	LoadedAt time.Time `json:"loaded_at"`
	Trigger  string    `json:"trigger"` // as in LastReload
	Routes   int       `json:"routes"`
	Changes  Changes   `json:"changes,omitzero"` // since the generation before
}

// Changes are what differs between two generations, by name. Long lists end with
// an ellipsis.
type Changes struct {
	Routes     Change   `json:"routes,omitzero"`
	Upstreams  Change   `json:"upstreams,omitzero"`
	Middleware Change   `json:"middleware,omitzero"`
	Listeners  Change   `json:"listeners,omitzero"`
	Settings   []string `json:"settings,omitempty"`    // other keys of the process file
	RouteOrder bool     `json:"route_order,omitempty"` // routes stand in another order
	Files      Change   `json:"files,omitzero"`        // certificates among them
}

// Change names things of one sort.
type Change struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Changed []string `json:"changed,omitempty"`
}

// IsZero says whether nothing differs.
func (c Change) IsZero() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// IsZero says whether nothing differs.
func (c Changes) IsZero() bool {
	return c.Routes.IsZero() && c.Upstreams.IsZero() && c.Middleware.IsZero() && c.Listeners.IsZero() &&
		len(c.Settings) == 0 && !c.RouteOrder && c.Files.IsZero()
}

// Status says which binary runs with which configuration.
type Status struct {
	Version    string     `json:"version"`
	Commit     string     `json:"commit,omitempty"`
	GoVersion  string     `json:"go_version"`
	Started    time.Time  `json:"started"`
	Generation uint64     `json:"generation"`
	LoadedAt   time.Time  `json:"loaded_at"` // of the generation in use
	LoadedBy   string     `json:"loaded_by"` // what asked for it, as in LastReload
	Files      []string   `json:"files"`
	LastReload LastReload `json:"last_reload"`
}

// LastReload is the last attempt to load the configuration.
type LastReload struct {
	At      time.Time `json:"at"`
	Trigger string    `json:"trigger"`         // "start", "file", "signal", "admin"
	Error   string    `json:"error,omitempty"` // why it was refused, with file:line:column
}

// RouteInfo is a route in use.
type RouteInfo struct {
	Name     string   `json:"name"`
	Match    string   `json:"match"`          // what it matches, for people
	Use      []string `json:"use,omitempty"`  // the chain of middlewares, top to bottom
	Auth     []string `json:"auth,omitempty"` // what asks who is calling; "public" is nothing, on purpose
	Upstream string   `json:"upstream"`
	Position string   `json:"position,omitempty"` // file:line:column
}

// UpstreamInfo is an upstream in use.
type UpstreamInfo struct {
	Name      string         `json:"name"`
	Confirmed time.Time      `json:"confirmed,omitzero"`  // when discovery last confirmed the endpoints
	Panic     bool           `json:"panic,omitempty"`     // too few endpoints are healthy, all are used
	Waiting   int            `json:"waiting,omitempty"`   // requests that wait for an endpoint with room
	LeftZone  []string       `json:"left_zone,omitempty"` // arms whose requests leave the preferred zone; an empty name is the whole upstream
	Endpoints []EndpointInfo `json:"endpoints"`
}

// EndpointInfo is an endpoint in use.
type EndpointInfo struct {
	Addr      string            `json:"addr"`
	Healthy   bool              `json:"healthy"`
	Ejected   *EjectionInfo     `json:"ejected,omitempty"` // set while it is left alone for what became of requests
	Weight    int               `json:"weight"`
	SlowStart int               `json:"slow_start_percent,omitempty"` // of its weight that it has while it starts slowly
	Zone      string            `json:"zone,omitempty"`
	Tags      []string          `json:"tags,omitempty"`
	Meta      map[string]string `json:"meta,omitempty"`
	Arms      []string          `json:"arms,omitempty"` // the arms that it belongs to
	Active    int64             `json:"active"`         // requests on their way
	Requests  uint64            `json:"requests"`       // attempts begun
	Failures  uint64            `json:"failures"`       // attempts that failed
}

// EjectionInfo is why an endpoint is left alone.
type EjectionInfo struct {
	Reason string    `json:"reason"` // the rule that it has broken
	At     time.Time `json:"at"`
	Until  time.Time `json:"until"` // when it is used again; after connect failures, when a connection is tried
	Count  int       `json:"count"` // of ejections in close succession
}

// ExplainRequest describes a request to be explained.
type ExplainRequest struct {
	Method  string              `json:"method"` // default: GET
	URL     string              `json:"url"`    // absolute
	Headers map[string][]string `json:"headers,omitempty"`
}

// Explanation is what the gateway would do with a request. It stops where the
// request would be answered.
type Explanation struct {
	Request  string     `json:"request"`           // method and canonical URL
	TLS      string     `json:"tls,omitempty"`     // settings that a handshake for its host keeps to
	Refused  *Refusal   `json:"refused,omitempty"` // set if it goes nowhere
	Route    string     `json:"route,omitempty"`
	Match    string     `json:"match,omitempty"`    // of the route
	Position string     `json:"position,omitempty"` // of the route: file:line:column
	Nearer   []NearMiss `json:"nearer,omitempty"`   // routes that come before it and did not match
	Steps    []Step     `json:"steps,omitempty"`    // the chain in order
	Upstream string     `json:"upstream,omitempty"`
	Arm      string     `json:"arm,omitempty"`
	ArmBy    string     `json:"arm_by,omitempty"`   // what decided the arm
	Endpoint string     `json:"endpoint,omitempty"` // one that it could go to now
}

// Refusal is the error answer that a request would get.
type Refusal struct {
	Status int    `json:"status"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// NearMiss is a route that did not match, and why.
type NearMiss struct {
	Route string `json:"route"`
	Why   string `json:"why"`
}

// Step is one middleware of a chain and what it would do.
type Step struct {
	Name string `json:"name"`
	Does string `json:"does"`
}
