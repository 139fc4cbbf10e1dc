package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/anatomy"
	"github.com/pithead/pithead/gateway/limitview"
)

// Options are what the admin API shows and does. All functions are required
// and are called from several goroutines.
type Options struct {
	Address string         // where it listens: host:port, or "unix:" and a path
	Token   gateway.Secret // demanded for changes; required unless Address is loopback or a Unix socket
	Hosts   []string       // further values of Host, with or without a port

	Metrics   http.Handler
	Ready     func() (ok bool, why []string) // why not, or what does not work all the same
	Reload    func(ctx context.Context) (ReloadResult, error)
	Config    func() []byte // YAML without secrets
	Status    func() Status
	History   func() []Generation // the one in use first
	Routes    func() []RouteInfo
	Endpoints func() []UpstreamInfo
	Breakers  func() []BreakerInfo
	Caches    func() []CacheInfo

	// Limits is the state of the limits called name, or of all for "". Of each rate limit it
	// says what who has left, unless that is nil.
	Limits func(ctx context.Context, name string, who limitview.Facts) limitview.Report

	Labels func() []anatomy.Named // of connections, as pithead-probe asks for them

	// Documented are the routes with an OpenAPI document, and OpenAPI makes the one of a
	// route; without one it says ErrNoDocument.
	Documented func() []string
	OpenAPI    func(route string) ([]byte, error)

	// ForceBreaker has the breaker with this name open, closed or, with auto, left to
	// itself. by is the address of whoever wants it.
	ForceBreaker func(name, force, by string) (BreakerInfo, error)

	// PurgeCache has the cache with this name forget answers, and tells how many;
	// without such a cache it says ErrNoCache.
	PurgeCache func(name string, what CachePurge, by string) (forgotten int, err error)

	// Explain gets the request as a server would see it, but for its URL, which
	// is absolute: the scheme says whether the client used TLS.
	Explain func(r *http.Request) Explanation
}

func (o *Options) complete() bool {
	return o.Metrics != nil && o.Ready != nil && o.Reload != nil && o.Config != nil && o.Status != nil && o.History != nil &&
		o.Routes != nil && o.Endpoints != nil && o.Breakers != nil && o.Limits != nil && o.Documented != nil && o.OpenAPI != nil && o.Labels != nil && o.ForceBreaker != nil && o.Caches != nil && o.PurgeCache != nil && o.Explain != nil
}

// endpoint is one entry of the table of routes.
type endpoint struct {
	get, post http.HandlerFunc
	writes    bool // POST changes something
	unlimited bool // not counted by the rate limit
}

type api struct {
	guard  *guard
	routes map[string]endpoint
}

// New makes the handler of the admin listener. Which addresses need a token is
// decided here once more, so that no way of wiring can leave one open.
func New(o Options) (http.Handler, error) {
	if !o.complete() {
		return nil, errors.New("admin: an option is missing")
	}
	g, err := newGuard(o.Address, o.Token, o.Hosts)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	h := &handlers{o}
	return &api{guard: g, routes: map[string]endpoint{
		"/metrics":              {get: o.Metrics.ServeHTTP, unlimited: true},
		"/healthz":              {get: h.alive, unlimited: true},
		"/readyz":               {get: h.ready, unlimited: true},
		"/-/config":             {get: h.config},
		"/-/config/generations": {get: h.generations},
		"/-/status":             {get: h.status},
		"/-/routes":             {get: h.routes},
		"/-/endpoints":          {get: h.endpoints},
		breakersPath:            {get: h.breakers},
		breakersPath + "/":      {post: h.forceBreaker, writes: true},
		limitsPath:              {get: h.limits},
		cachesPath:              {get: h.caches},
		cachesPath + "/":        {post: h.purgeCache, writes: true},
		"/-/labels":             {get: h.labels, unlimited: true},
		openAPIPath:             {get: h.openAPI, unlimited: true},
		"/-/explain":            {get: h.explainQuery, post: h.explainBody},
		"/-/reload":             {post: h.reload, writes: true},
	}}, nil
}

// ServeHTTP implements http.Handler. The path must be one of the table as it
// was sent: http.ServeMux would clean it first and answer with redirects, and
// rules about paths that somebody wrote in front of it would not hold
// (CVE-2026-45692).
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, breakersPath+"/") {
		path = breakersPath + "/" // the rest is a name
	}
	if strings.HasPrefix(path, cachesPath+"/") {
		path = cachesPath + "/" // likewise
	}
	if strings.HasPrefix(path, openAPIPath) {
		path = openAPIPath // likewise
	}
	e, ok := a.routes[path]
	if err := a.guard.admit(r, e); err != nil {
		gateway.Fail(w, r, err)
		return
	}
	if !ok {
		gateway.Fail(w, r, errNoPath)
		return
	}
	if serve := e.method(r.Method); serve != nil {
		serve(w, r)
		return
	}
	gateway.Fail(w, r, &gateway.Error{
		Status: http.StatusMethodNotAllowed, Reason: "method_not_allowed", Msg: "the path does not take this method",
		Cause: gateway.CauseClient, Allow: e.allow(),
	})
}

func (e *endpoint) method(name string) http.HandlerFunc {
	switch name {
	case http.MethodGet, http.MethodHead:
		return e.get
	case http.MethodPost:
		return e.post
	default:
		return nil
	}
}

func (e *endpoint) allow() string {
	var methods []string
	if e.get != nil {
		methods = append(methods, http.MethodGet, http.MethodHead)
	}
	if e.post != nil {
		methods = append(methods, http.MethodPost)
	}
	return strings.Join(methods, ", ")
}
