package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway/anatomy"
	"github.com/pithead/pithead/gateway/limitview"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a gateway as the admin API sees one.
type daemon struct {
	mu         sync.Mutex
	generation uint64
	invalid    error    // what is wrong with the files
	notReady   []string // why
}

const invalidText = "routes.d/orders.yaml:14:9: unknown middleware \"ratelimit\"\n      - ratelimit: {}\n        ^"

func (d *daemon) reload(context.Context) (ReloadResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.invalid != nil {
		return ReloadResult{}, d.invalid
	}
	d.generation++
	return ReloadResult{Generation: d.generation, Changes: changes}, nil
}

func (d *daemon) ready() (bool, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.notReady == nil, d.notReady
}

var (
	started     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	changes     = Changes{Routes: Change{Added: []string{"orders"}}, Settings: []string{"admin"}}
	generations = []Generation{{Number: 2, LoadedAt: started, Trigger: "file", Routes: 1, Changes: changes}, {Number: 1, LoadedAt: started, Trigger: "start"}}
	routes      = []RouteInfo{{Name: "orders", Match: "GET api.example.com/v1/orders/{id}", Use: []string{"partner", "canary"}, Upstream: "orders"}}
	endpoints   = []UpstreamInfo{{Name: "orders", Confirmed: started, Endpoints: []EndpointInfo{{Addr: "10.0.0.7:9000", Healthy: true, Weight: 1, Arms: []string{"stable"}}}}}
)

func (d *daemon) status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Status{
		Version: "1.2.3", GoVersion: "go1.26", Started: started, Generation: d.generation, LoadedAt: started,
		LoadedBy: "start", Files: []string{"pithead.yaml"}, LastReload: LastReload{At: started, Trigger: "start"},
	}
}

func (d *daemon) explain(r *http.Request) Explanation {
	return Explanation{
		Request: r.Method + " " + r.URL.String(), Route: "orders", Endpoint: r.Host + " " + r.RequestURI,
		ArmBy: strings.Join(r.Header.Values("X-Canary"), ","),
	}
}

func (d *daemon) options() Options {
	return Options{
		Documented: func() []string { return []string{"shop", "a/b"} },
		OpenAPI:    documentOf,
		Address:    "127.0.0.1:9901",
		Metrics:    http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "pithead_up 1\n") }),
		Ready:      d.ready, Reload: d.reload, Status: d.status, Explain: d.explain,
		Config:    func() []byte { return []byte("routes: []\n") },
		Routes:    func() []RouteInfo { return routes },
		History:   func() []Generation { return generations },
		Endpoints: func() []UpstreamInfo { return endpoints },
		Labels:    func() []anatomy.Named { return []anatomy.Named{{Label: 2, Route: "orders", Arm: "canary"}} },
		Breakers:  func() []BreakerInfo { return nil },
		Caches:    func() []CacheInfo { return nil },
		Limits:    func(context.Context, string, limitview.Facts) limitview.Report { return limitview.Report{} },

		ForceBreaker: func(string, string, string) (BreakerInfo, error) { return BreakerInfo{}, ErrNoBreaker },
		PurgeCache:   func(string, CachePurge, string) (int, error) { return 0, ErrNoCache },
	}
}

func handler(t *testing.T, o Options) http.Handler {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask sends a request as a client on the same machine does; header is "Name: value" lines.
func ask(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:9901"
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

const asJSON = "Content-Type: application/json"

func TestAnswers(t *testing.T) {
	d := &daemon{generation: 1}
	h := handler(t, d.options())
	text := func(v any) string {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	explained := text(Explanation{Request: "POST https://api.example.com/v1?a=1", Route: "orders", Endpoint: "api.example.com /v1?a=1", ArmBy: "always,x"})
	tests := []struct {
		method, target, body string
		header               []string
		status               int
		want, contentType    string
	}{
		{"GET", "/metrics", "", nil, 200, "pithead_up 1\n", ""},
		{"GET", "/healthz", "", nil, 200, "ok\n", "text/plain; charset=utf-8"},
		{"HEAD", "/healthz", "", nil, 200, "ok\n", ""}, // net/http's server takes the body away
		{"GET", "/readyz", "", nil, 200, "ready\n", "text/plain; charset=utf-8"},
		{"GET", "/-/config", "", nil, 200, "# generation 1, in use since 2026-01-02T03:04:05Z, loaded by: start\nroutes: []\n", "application/yaml"},
		{"GET", "/-/config?format=json", "", nil, 200, text(d.status()), "application/json"},
		{"GET", "/-/config/generations", "", nil, 200, text(generations), "application/json"},
		{"GET", "/-/status", "", nil, 200, text(d.status()), "application/json"},
		{"GET", "/-/routes", "", nil, 200, text(routes), "application/json"},
		{"GET", "/-/endpoints", "", nil, 200, text(endpoints), "application/json"},
		{"GET", "/-/explain?method=POST&url=https://api.example.com/v1%3Fa=1&header=x-canary:+always&header=X-Canary:x", "", nil, 200, explained, "application/json"},
		{"POST", "/-/explain", `{"method":"POST","url":"https://api.example.com/v1?a=1","headers":{"x-canary":["always","x"]}}`, []string{asJSON}, 200, explained, "application/json"},
		{"POST", "/-/reload", "", nil, 200, text(ReloadResult{Generation: 2, Changes: changes}), "application/json"},
		{"POST", "/-/reload", "{}", []string{asJSON + "; charset=utf-8"}, 200, text(ReloadResult{Generation: 3, Changes: changes}), "application/json"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			rec := ask(h, tt.method, tt.target, tt.body, tt.header...)
			if rec.Code != tt.status {
				t.Errorf("status %d: %s", rec.Code, rec.Body)
			}
			if diff := cmp.Diff(tt.want, rec.Body.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if ct := rec.Header().Get("Content-Type"); tt.contentType != "" && ct != tt.contentType {
				t.Errorf("Content-Type %q", ct)
			}
			if rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", rec.Header())
			}
		})
	}
	t.Run("empty lists", func(t *testing.T) {
		o := d.options()
		o.Routes = func() []RouteInfo { return nil }
		if got := ask(handler(t, o), "GET", "/-/routes", "").Body.String(); got != "[]\n" {
			t.Errorf("got %q", got)
		}
	})
}

// refused checks that an answer is an error of the API.
func refused(t *testing.T, rec *httptest.ResponseRecorder, status int, reason string) {
	t.Helper()
	var p struct {
		Reason string `json:"reason"`
		Detail string `json:"detail"`
	}
	_ = json.Unmarshal(rec.Body.Bytes(), &p)
	if rec.Code != status || p.Reason != reason || rec.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %q, want %d %q: %s", rec.Code, p.Reason, status, reason, rec.Body)
	}
}

func TestRefusals(t *testing.T) {
	h := handler(t, (&daemon{}).options())
	refused(t, ask(h, "GET", "/nothing", ""), 404, "not_found")
	refused(t, ask(h, "POST", "/nothing", ""), 404, "not_found")
	refused(t, ask(h, "GET", "/-/reload", ""), 405, "method_not_allowed")
	refused(t, ask(h, "DELETE", "/-/config", ""), 405, "method_not_allowed")
	refused(t, ask(h, "PUT", "/-/explain", "", asJSON), 405, "method_not_allowed")
	if got := ask(h, "PUT", "/-/explain", "").Header().Get("Allow"); got != "GET, HEAD, POST" {
		t.Errorf("Allow %q", got)
	}
	for _, body := range []string{"", "{", `{"url":"/v1"}`, `{"url":"ftp://h/"}`, `{"url":"http://h/\u0000"}`, `{"method":"A B","url":"http://h/"}`, `{"urll":"x"}`, `{"url":"http://h/"} {}`} {
		refused(t, ask(h, "POST", "/-/explain", body, asJSON), 400, "explain_request")
	}
	refused(t, ask(h, "GET", "/-/explain?url=http://h/&header=x", ""), 400, "explain_request")
	refused(t, ask(h, "POST", "/-/explain", `{"url":"http://h/`+strings.Repeat("x", maxBody)+`"}`, asJSON), 413, "body_too_large")
}

func TestReloadRefused(t *testing.T) {
	d := &daemon{generation: 1, invalid: errors.New(invalidText)}
	rec := ask(handler(t, d.options()), "POST", "/-/reload", "")
	refused(t, rec, 422, "reload_refused")
	var p struct{ Detail string }
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p.Detail != invalidText {
		t.Errorf("detail %q, %v", p.Detail, err)
	}
}

func TestReady(t *testing.T) {
	d := &daemon{notReady: []string{"upstream orders has no endpoints", "shutting down"}}
	h := handler(t, d.options())
	rec := ask(h, "GET", "/readyz", "")
	refused(t, rec, 503, "not_ready")
	if !strings.Contains(rec.Body.String(), "upstream orders has no endpoints; shutting down") {
		t.Error(rec.Body)
	}
	if rec := ask(h, "GET", "/healthz", ""); rec.Code != 200 {
		t.Errorf("healthz %d", rec.Code)
	}
}

// What does not work for some routes is told, and takes no traffic from the others.
func TestReadyButDegraded(t *testing.T) {
	o := (&daemon{}).options()
	o.Ready = func() (bool, []string) { return true, []string{"keys of https://id.example are not at hand"} }
	rec := ask(handler(t, o), "GET", "/readyz", "")
	if want := "ready\ndegraded: keys of https://id.example are not at hand\n"; rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("%d %q, want %q", rec.Code, rec.Body, want)
	}
}

func TestNewNeedsEverything(t *testing.T) {
	o := (&daemon{}).options()
	o.Explain = nil
	if _, err := New(o); err == nil {
		t.Error("no error")
	}
}
