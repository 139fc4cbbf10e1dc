package config

import (
	"net/netip"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// Root is the whole configuration: the process file and all route files that it
// includes, merged. Route files may hold upstreams, middleware and routes; all
// other keys belong into the process file.
type Root struct {
	// Include lists globs of route files, relative to this file. Files are read
	// in the order of the globs, then of their names.
	Include []string `yaml:"include"`
	// Listeners are the addresses that take requests, by name. Default: one named `web` on `:8080`.
	Listeners map[string]*Listener `yaml:"listeners"`
	// Admin is the listener for metrics, health and the admin API.
	Admin Admin `yaml:"admin"`
	// Consul holds defaults for every `discover: {consul: ...}`.
	Consul *Block `yaml:"consul,settings" kinds:"discovery source"`
	// TrustedProxies are the networks whose X-Forwarded-For, X-Forwarded-Proto
	// and X-Forwarded-Host are believed. Default: none.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// KeepHeaders lists request headers with an underscore or a dot in their
	// names that are passed on. All others of that form are dropped. Requests with
	// one that can be taken for a header that the gateway decides on, such as
	// X_Forwarded_For, are refused, listed or not.
	KeepHeaders []string `yaml:"keep_headers"`
	// AccessLog says where one line for each request goes.
	AccessLog AccessLog `yaml:"access_log"`
	// Reload says how changes of the files are noticed.
	Reload Reload `yaml:"reload"`
	// Shutdown is the order of the end after SIGTERM.
	Shutdown Shutdown `yaml:"shutdown"`

	// Upstreams are the services behind the gateway, by name.
	Upstreams map[string]*Upstream `yaml:"upstreams"`
	// Middleware are named blocks that `use:` may refer to.
	Middleware map[string]*Block `yaml:"middleware" kinds:"middleware"`
	// Routes say which requests go where.
	Routes []*Route `yaml:"routes"`
}

// Listener is one address that takes requests.
type Listener struct {
	// Address is host:port; an empty host is all addresses. Required.
	Address string `yaml:"address,required"`
	// Protocols: `h1` and `h2c` without TLS, `h1` and `h2` with it. Default: [h1], with TLS [h1, h2].
	Protocols []string `yaml:"protocols"`
	// TLS makes it an HTTPS listener.
	TLS *TLS `yaml:"tls"`
	// Limits refuse requests that are too large.
	Limits Limits `yaml:"limits"`
	// Timeouts end what is too slow.
	Timeouts Timeouts `yaml:"timeouts"`
}

// TLS holds the certificates of a listener.
type TLS struct {
	// Certificates are pairs of PEM files. The client's SNI chooses among them,
	// exact names before wildcards; the first one serves clients without a match. Required.
	Certificates []Certificate `yaml:"certificates,required"`
	// MinVersion is `1.2` or `1.3`. Default: 1.2.
	MinVersion string `yaml:"min_version"`
}

// Certificate is a certificate chain and its key.
type Certificate struct {
	// Cert is a PEM file with the certificate, then its intermediates. Required.
	Cert string `yaml:"cert,required"`
	// Key is a PEM file with the private key. Required.
	Key string `yaml:"key,required"`
}

// Limits bound the size of requests and the number of connections.
type Limits struct {
	// HeaderBytes bounds the head of a request. Default: 16KiB.
	HeaderBytes kind.Size `yaml:"header_bytes"`
	// HeaderFields bounds the number of header lines. Default: 100.
	HeaderFields int `yaml:"header_fields"`
	// Target bounds the request target. Default: 8KiB.
	Target kind.Size `yaml:"target"`
	// QueryParams bounds the number of query parameters. Default: 1000.
	QueryParams int `yaml:"query_params"`
	// Cookies bounds the number of cookies. Default: 100.
	Cookies int `yaml:"cookies"`
	// Connections bounds the open connections; further ones are closed at once. Default: 10000.
	Connections int `yaml:"connections"`
	// ConnectionsPerClient bounds the connections of one address (IPv6: one /64),
	// loopback excepted. Default: 256.
	ConnectionsPerClient int `yaml:"connections_per_client"`
	// Streams bounds the concurrent streams of an HTTP/2 connection. Default: 100.
	Streams int `yaml:"streams"`
}

// Timeouts bound how long a client may take.
type Timeouts struct {
	// Header is the time for the head of a request and the TLS handshake. Default: 10s.
	Header time.Duration `yaml:"header"`
	// BodyIdle is the longest pause while a body is read. Not for gRPC and upgraded connections. Default: 30s.
	BodyIdle time.Duration `yaml:"body_idle"`
	// BodyRate is the least rate of a body in bytes a second, from 10 seconds on; 0 is any. Not for gRPC and upgraded connections. Default: 500B.
	BodyRate kind.Size `yaml:"body_rate"`
	// WriteIdle is the longest pause while the client takes nothing of an answer. Default: 60s.
	WriteIdle time.Duration `yaml:"write_idle"`
	// Idle is how long a connection without a request stays open. Default: 75s.
	Idle time.Duration `yaml:"idle"`
}

// Admin is the listener for /metrics, /healthz, /readyz and /-/.
type Admin struct {
	// Address is host:port, or `unix:` and a path. Default: 127.0.0.1:9901.
	Address string `yaml:"address"`
	// Token is demanded as `Authorization: Bearer` for everything that changes
	// something; reading needs none. Required when the address is not loopback or
	// a Unix socket.
	Token gateway.Secret `yaml:"token"`
	// Hosts are further values of Host that are answered, beside the address
	// itself and localhost. It keeps web pages from reaching the admin API by DNS rebinding.
	Hosts []string `yaml:"hosts"`
}

// AccessLog is one line for each request.
type AccessLog struct {
	// Output is `stdout`, `stderr`, `off` or a file's path, relative to the configuration file. Default: stdout.
	Output string `yaml:"output"`
	// Format is `json`, or `text` for people. Default: json.
	Format string `yaml:"format"`
}

// Reload says how changes of the files are noticed. SIGHUP, `pithead reload`
// and POST /-/reload work in any case.
type Reload struct {
	// Watch reloads when a file changes. Default: true.
	Watch bool `yaml:"watch"`
	// Debounce is how long the files must have been quiet. Default: 250ms.
	Debounce time.Duration `yaml:"debounce"`
	// Poll is how often the files are read even without a notice of the system. Default: 10s.
	Poll time.Duration `yaml:"poll"`
	// AllowShrink lets a changed file take away more than 30 % of 20 or more
	// routes at once. An explicit reload always may. Default: false.
	AllowShrink bool `yaml:"allow_shrink"`
}

// Shutdown is the order of the end: not ready, delay, close listeners, lame
// duck, drain, exit.
type Shutdown struct {
	// Delay is the time between /readyz turning 503 and the listeners closing,
	// for load balancers to notice. Default: 5s.
	Delay time.Duration `yaml:"delay"`
	// LameDuck is how long keep-alive connections are still answered, with
	// Connection: close, after the listeners have closed. Default: 1s.
	LameDuck time.Duration `yaml:"lame_duck"`
	// Grace is how long requests and streams may take to finish after that. Default: 25s.
	Grace time.Duration `yaml:"grace"`
}

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
}

// Arm selects endpoints by label. All given conditions must hold.
type Arm struct {
	// Tag that the endpoint must have.
	Tag string `yaml:"tag"`
	// Meta that the endpoint must have, key by key.
	Meta map[string]string `yaml:"meta"`
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
