package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
)

// ForwardAuthConfig asks a service of its own whether a request may pass. An answer
// of 2xx lets it pass; of 3xx or 4xx, such as a redirect to a login page, goes to the
// client in place of the upstream's; anything else, no answer in time among it, is a
// 503: nobody passes while the service is away. When it is away, too slow or answers 502, 503 or
// 504 again and again, it is left alone for 5 s at a time, in which the answer is 503 at once.
//
//	forward_auth:
//	  to: auth
//	  path: /check
//	  request_headers: [Authorization, Cookie]
//	  response_headers: {to_upstream: [X-User, X-Groups], to_client: [Set-Cookie]}
//	  subject_header: X-User
//	  cache: {ttl: 10s}
//
// The service is asked about the request as the gateway understands it: its client in
// X-Forwarded-For, and X-Forwarded-Method, X-Forwarded-Proto, X-Forwarded-Host and
// X-Forwarded-Uri, as they were before any middleware changed them. X-Request-Id is
// that of the request. gRPC calls are refused with the gRPC code for the status.
type ForwardAuthConfig struct {
	// To is the upstream with the service. Required.
	To string `yaml:"to"`
	// Path is where the service is asked. Default: /.
	Path string `yaml:"path"`
	// Method is how it is asked. Default: GET.
	Method string `yaml:"method"`
	// Host is what it is asked for as Host. A `host` of the upstream comes before it.
	// Default: that of the request.
	Host string `yaml:"host"`
	// RequestHeaders are the headers of the client that the service gets to see. It
	// gets no others, so credentials leave the gateway only if they are named: most
	// services want [Authorization], [Cookie] or both. Required.
	RequestHeaders []string `yaml:"request_headers,required"`
	// ResponseHeaders are the headers of its answer that are passed on.
	ResponseHeaders ForwardAuthHeaders `yaml:"response_headers"`
	// SubjectHeader is the header of the answer with the subject, which is then proven
	// for what comes after the block in `use`. An answer of 2xx that lacks it is a
	// 503. Default: none, and nothing is proven.
	SubjectHeader string `yaml:"subject_header"`
	// Timeout is how long the service may take, with its whole answer. Default: 1s.
	Timeout time.Duration `yaml:"timeout"`
	// Body is the largest body that the service gets to see, with Content-Type and
	// Content-Encoding. Requests with a larger one are a 413, and the body is
	// kept in memory until it has been sent. gRPC calls, upgrades and event streams are
	// asked about without. At most 1MiB. Default: 0, and no body is sent.
	Body kind.Size `yaml:"body"`
	// Cache remembers answers. Not with a body. Default: every request is asked about.
	Cache *ForwardAuthCache `yaml:"cache"`
}

// ForwardAuthHeaders are headers of the service's answer.
type ForwardAuthHeaders struct {
	// ToUpstream are set on the request that goes upstream. Nobody else can set these
	// headers, on any route; one that an answer lacks is absent. Default: none.
	ToUpstream []string `yaml:"to_upstream"`
	// ToClient are added to the answer that the client gets, whoever gives it. A refusal
	// also has Content-Type, Location, Retry-After and WWW-Authenticate. Default: none.
	ToClient []string `yaml:"to_client"`
}

const maxAuthBody = kind.MiB

// Validate checks what can be checked without knowing the upstreams.
func (c ForwardAuthConfig) Validate() error {
	var errs []error
	if c.To == "" {
		errs = append(errs, kind.At("", "asks nobody; name an upstream under to"))
	}
	if path, _, err := canon.Path(c.Path, 0); err != nil || path != c.Path {
		errs = append(errs, kind.At("path", "%q is no plain path, such as /check", c.Path))
	}
	if !grammar.IsToken(c.Method) || c.Method == http.MethodConnect {
		errs = append(errs, kind.At("method", "%q is no method to ask with", c.Method))
	}
	if c.Host != "" {
		if _, _, err := canon.Host(c.Host); err != nil {
			errs = append(errs, kind.At("host", "%q is no host", c.Host))
		}
	}
	errs = append(errs,
		passable("request_headers", c.RequestHeaders),
		passable("response_headers.to_upstream", c.ResponseHeaders.ToUpstream),
		passable("response_headers.to_client", c.ResponseHeaders.ToClient))
	if c.SubjectHeader != "" {
		errs = append(errs, validateHeaderName("subject_header", c.SubjectHeader))
	}
	if c.Timeout <= 0 {
		errs = append(errs, kind.At("timeout", "must be more than 0"))
	}
	if c.Cache != nil && c.Body > 0 {
		errs = append(errs, kind.At("cache", "cannot know whether two requests are alike in their bodies; leave out body or cache"))
	}
	if c.Body < 0 || c.Body > maxAuthBody {
		errs = append(errs, kind.At("body", "is not from 0 to 1MiB"))
	}
	return errors.Join(errs...)
}

// passable checks the names of headers that are to be passed on.
func passable(path string, names []string) error {
	var errs []error
	for i, name := range names {
		at, canonical := fmt.Sprintf("%s[%d]", path, i), http.CanonicalHeaderKey(separators.Replace(name))
		if strings.HasPrefix(canonical, "X-Forwarded-") || canonical == "Forwarded" || canonical == "X-Request-Id" {
			errs = append(errs, kind.At(at, "%s is the gateway's to say", canonical))
			continue
		}
		errs = append(errs, validateHeaderName(at, name))
	}
	return errors.Join(errs...)
}
