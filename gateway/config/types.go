package config

import (
	"net/netip"
	"time"

	"github.com/pithead/pithead/gateway"
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
	// Consul holds defaults for every `discover: {consul: ...}`, and with `register`
	// enters the gateway itself in Consul's catalogue.
	Consul *Block `yaml:"consul,settings" kinds:"discovery source"`
	// TrustedProxies are the networks whose X-Forwarded-For, X-Forwarded-Proto
	// and X-Forwarded-Host are believed. Default: none.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// KeepHeaders lists request headers with an underscore or a dot in their
	// names that are passed on. All others of that form are dropped. Requests with
	// one that can be taken for a header that the gateway decides on, such as
	// X_Forwarded_For, are refused, listed or not.
	KeepHeaders []string `yaml:"keep_headers"`
	// ErrorPages are the pages of error answers: the settings of the middleware of that
	// name, for all routes and for requests that no route takes. Default: problem documents (RFC 9457).
	ErrorPages *Block `yaml:"error_pages,settings" kinds:"middleware"`
	// AccessLog says where one line for each request goes.
	AccessLog AccessLog `yaml:"access_log"`
	// Anatomy says of which requests it is found out where their time went.
	Anatomy Anatomy `yaml:"anatomy"`
	// Overload says what is given up when the process runs out of memory or processors.
	Overload Overload `yaml:"overload"`
	// Reload says how changes of the files are noticed.
	Reload Reload `yaml:"reload"`
	// Shutdown is the order of the end after SIGTERM.
	Shutdown Shutdown `yaml:"shutdown"`

	// Secrets says how sealed values of all files are opened.
	Secrets Secrets `yaml:"secrets"`

	// Upstreams are the services behind the gateway, by name.
	Upstreams map[string]*Upstream `yaml:"upstreams"`
	// Middleware are named blocks that `use:` may refer to.
	Middleware map[string]*Block `yaml:"middleware" kinds:"middleware"`
	// Routes say which requests go where.
	Routes []*Route `yaml:"routes"`
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
