package config

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// Route says which requests go where.
type Route struct {
	// Name is the route's label in metrics, logs and admin. Default: made from the match.
	Name string `yaml:"name"`
	// Match is what a request must be like: one map, or a list of them, of which any
	// is enough. `{}` is every request. Required.
	Match []Match `yaml:"match,required,one"`
	// Use is the chain of middlewares, run top to bottom: names of blocks, or blocks.
	Use []*Block `yaml:"use" kinds:"middleware"`
	// To is the upstream. Required, unless `use` has a middleware that answers by
	// itself, such as respond or redirect.
	To string `yaml:"to"`
	// Public says that anybody may use the route, on purpose: `pithead routes` shows it, and
	// `pithead check --lint` does not complain that nothing in `use` asks who is calling.
	// With something that lets nobody pass without a proof it is refused. Default: false.
	Public bool `yaml:"public"`
	// Timeout bounds the whole exchange. Not for gRPC, SSE and upgraded connections. 0s
	// leaves only the timeouts of listener and upstream. Default: 300s.
	Timeout time.Duration `yaml:"timeout"`
	// BodyLimit bounds the body of a request. 0 allows none. Not for gRPC and upgraded connections. Default: 10MiB.
	BodyLimit kind.Size `yaml:"body_limit"`
	// Anatomy says of which requests it is found out where their time went. What it
	// leaves out has its default, not what the top level says. Default: as at the top level.
	Anatomy *Anatomy `yaml:"anatomy"`
	// AllowEncoded lists characters that may stand percent-encoded in the path: `slash`, `percent`, `semicolon`. Default: none.
	AllowEncoded []string `yaml:"allow_encoded"`
}

// Match is what a request must be like. All given conditions must hold.
type Match struct {
	// Host is a name, `*.example.com` for one or more labels in its place, or empty for any host.
	Host string `yaml:"host"`
	// Hosts are several alternatives for Host.
	Hosts []string `yaml:"hosts"`
	// Path is the whole path: exact, or with `{parameters}` that each match one
	// segment. A match has one of path, prefix, path_regex and grpc, or none for
	// every path.
	Path string `yaml:"path"`
	// Prefix matches whole segments: `/v1` is `/v1` and `/v1/x`, not `/v10`. `/` is everything.
	Prefix string `yaml:"prefix"`
	// PathRegex is a regular expression (RE2) for the whole path.
	PathRegex string `yaml:"path_regex"`
	// GRPC matches calls of gRPC by service and method; `{}` is all of them. A call is
	// a POST over HTTP/2 of the content type application/grpc. Such matches come
	// before those by path. They have no methods.
	GRPC *GRPC `yaml:"grpc"`
	// Methods are the request methods. Default: all but CONNECT and TRACE.
	Methods []string `yaml:"methods"`
	// Headers must have these values. Of a header that is sent several times one is
	// enough; they are not divided at commas. Text is the exact value, and empty text
	// asks only for presence.
	Headers map[string]Value `yaml:"headers"`
	// Query parameters must have these values, as with headers. Of a parameter that is
	// sent several times the first one counts.
	Query map[string]Value `yaml:"query"`
	// Clients are networks, of which one must have the client's address, as it is
	// behind `trusted_proxies`. Default: any client.
	Clients []netip.Prefix `yaml:"clients"`
	// Listeners are names of listeners, of which one must have taken the request. Default: any listener.
	Listeners []string `yaml:"listeners"`
}

// GRPC is what a call of gRPC must be like.
type GRPC struct {
	// Service is the name with its package: `shop.v1.Orders`, or `{regex: ...}`. Default: any service.
	Service Name `yaml:"service"`
	// Method is the name without the service: `GetOrder`, or `{regex: ...}`. Default: any method.
	Method Name `yaml:"method"`
}

// SetDefaults sets the values that the comments of the fields name.
func (r *Route) SetDefaults() { r.Timeout, r.BodyLimit = 300*time.Second, 10*kind.MiB }

var encodedNames = []string{"slash", "percent", "semicolon"}

// Validate checks what a route says of itself.
func (r *Route) Validate() error {
	var f faults
	if r.Name != "" && !nameForm.MatchString(r.Name) {
		f.at("name", "%s", badName(r.Name))
	}
	if r.Match != nil && len(r.Match) == 0 {
		f.at("match", "an empty list matches nothing; write {} to match every request")
	}
	f.time("timeout", r.Timeout, 0)
	for i, word := range r.AllowEncoded {
		f.oneOf("allow_encoded["+strconv.Itoa(i)+"]", word, encodedNames...)
	}
	return f.err()
}
