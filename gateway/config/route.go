package config

import (
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// Route says which requests go where.
type Route struct {
	// Name is the route's label in metrics, logs and admin. Default: made from the match.
	Name string `yaml:"name"`
	// Match is what a request must be like. Required.
	Match Match `yaml:"match,required"`
	// Use is the chain of middlewares, run top to bottom: names of blocks, or blocks.
	Use []*Block `yaml:"use" kinds:"middleware"`
	// To is the upstream. Required.
	To string `yaml:"to,required"`
	// Timeout bounds the whole exchange. Not for gRPC, SSE and upgraded connections. Default: 300s.
	Timeout time.Duration `yaml:"timeout"`
	// BodyLimit bounds the body of a request. 0 allows none. Not for gRPC and upgraded connections. Default: 10MiB.
	BodyLimit kind.Size `yaml:"body_limit"`
	// AllowEncoded lists characters that may stand percent-encoded in the path: `slash`, `percent`, `semicolon`. Default: none.
	AllowEncoded []string `yaml:"allow_encoded"`
}

// Match is what a request must be like. All given conditions must hold.
type Match struct {
	// Host is a name, `*.example.com` for one or more labels in its place, or empty for any host.
	Host string `yaml:"host"`
	// Hosts are several alternatives for Host.
	Hosts []string `yaml:"hosts"`
	// Path is the whole path: exact, or with `{parameters}` that each match one segment.
	Path string `yaml:"path"`
	// Prefix matches whole segments: `/v1` is `/v1` and `/v1/x`, not `/v10`. `/` is everything.
	Prefix string `yaml:"prefix"`
	// PathRegex is a regular expression (RE2) for the whole path.
	PathRegex string `yaml:"path_regex"`
	// Methods are the request methods. Default: all but CONNECT and TRACE.
	Methods []string `yaml:"methods"`
	// Headers must have these values exactly; an empty value asks only for presence.
	Headers map[string]string `yaml:"headers"`
	// Query parameters must have these values exactly; an empty value asks only for presence.
	Query map[string]string `yaml:"query"`
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
	f.time("timeout", r.Timeout, 1)
	for i, word := range r.AllowEncoded {
		f.oneOf("allow_encoded["+strconv.Itoa(i)+"]", word, encodedNames...)
	}
	return f.err()
}
