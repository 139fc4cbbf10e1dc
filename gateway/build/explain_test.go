package build

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// told is an explanation as far as it can be compared.
type told struct {
	Route, Upstream, Arm, ArmBy, Endpoint, Refused string
	Host, Path                                     string
	Nearer, Steps                                  []string
}

func explain(t *testing.T, snap *Snapshot, method, url string, header ...string) told {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.RemoteAddr = "192.0.2.1:1"
	was := r.Clone(r.Context())
	e := snap.Explain(r)
	if diff := cmp.Diff(was.Header, r.Header); diff != "" || *was.URL != *r.URL || was.Host != r.Host || was.RemoteAddr != r.RemoteAddr {
		t.Errorf("the request was changed: %s %s", diff, r.URL)
	}
	got := told{
		Upstream: e.Exchange.Upstream, Arm: e.Exchange.Arm, ArmBy: e.Exchange.ArmBy, Endpoint: e.Endpoint,
		Host: e.Exchange.Scheme + "://" + e.Request.Host, Path: e.Request.URL.RequestURI(),
	}
	if e.Route != nil {
		got.Route = e.Route.Name
	}
	if e.Refused != nil {
		got.Refused = e.Refused.Reason
	}
	for _, n := range e.Nearer {
		got.Nearer = append(got.Nearer, n.Route.Name+": "+n.Why)
	}
	for _, s := range e.Steps {
		got.Steps = append(got.Steps, s.Name+": "+s.Does)
	}
	return got
}

func TestExplain(t *testing.T) {
	p := newProcess(t)
	p.pair("a", "", "a.example")
	addr, hits := backend(t, "orders")
	other, _ := backend(t, "v2")
	snap := p.start(lines(
		`listeners:`,
		`  a-plain: {address: ":1", limits: {query_params: 1}}`,
		`  secure: {address: ":2", tls: {certificates: [{cert: a.crt, key: a.key}]}}`,
		`middleware: {who: {probe: {name: who, proves: [subject]}}}`,
		`upstreams:`,
		`  orders: {discover: {static: {targets: [{address: "`+addr+`", tags: [s]}]}}, arms: {stable: {tag: s}, canary: {tag: c}}}`,
		`  v2: {discover: {static: {targets: ["`+other+`"]}}}`,
		`routes:`,
		`  - name: order`,
		`    match: {host: api.example.com, path: "/v1/orders/{id}", methods: [GET]}`,
		`    use: [who, {canary: {arms: {stable: {subset: stable}, next: {to: v2}, empty: {subset: canary}}, canary: next, fallback: none}}]`,
		`    to: orders`,
		`  - {name: rest, match: {host: api.example.com, prefix: /v1}, to: orders}`,
		`  - {name: slash, match: {prefix: /s}, to: orders, allow_encoded: [slash]}`,
	))
	f := func(name, method, url string, want told, header ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, explain(t, snap, method, url, header...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	who := "who: probes as who"
	f("the stable arm", "GET", "https://API.example.com.:443/v1//orders/7?q", told{
		Route: "order", Upstream: "orders", Arm: "stable", ArmBy: "header", Endpoint: addr,
		Host: "https://api.example.com", Path: "/v1/orders/7?q",
		Steps: []string{who, "canary: arm stable (orders, subset stable), by header x-canary: never"},
	}, "X-Canary", "never")
	f("an arm that is another upstream", "GET", "http://api.example.com/v1/orders/7", told{
		Route: "order", Upstream: "v2", Arm: "next", ArmBy: "header", Endpoint: other,
		Host: "http://api.example.com", Path: "/v1/orders/7",
		Steps: []string{who, "canary: arm next (v2), by header x-canary: always"},
	}, "X-Canary", "always")
	f("an arm without an endpoint", "GET", "http://api.example.com/v1/orders/7", told{
		Route: "order", Upstream: "orders", Arm: "empty", ArmBy: "header", Refused: "no_healthy_endpoint",
		Host: "http://api.example.com", Path: "/v1/orders/7",
		Steps: []string{who, "canary: arm empty (orders, subset canary), by header x-canary: empty"},
	}, "X-Canary", "empty")
	f("a nearer route that asks for another method", "POST", "http://api.example.com/v1/orders/7", told{
		Route: "rest", Upstream: "orders", Endpoint: addr, Host: "http://api.example.com", Path: "/v1/orders/7",
		Nearer: []string{"order: method POST, want GET"},
	})
	f("no route, and what was near", "POST", "http://api.example.com/v2/orders/7", told{
		Refused: "no_route", Host: "http://api.example.com", Path: "/v2/orders/7",
		Nearer: []string{
			"order: path /v2/orders/7: want path /v1/orders/{id}; method POST, want GET",
			"rest: path /v2/orders/7: want prefix /v1",
			"slash: path /v2/orders/7: want prefix /s",
		},
	})
	f("refused before the match", "GET", "http://api.example.com/v1/%00", told{
		Refused: "bad_path", Host: "http://api.example.com", Path: "/v1/%00",
	})
	f("refused by the route that matches", "GET", "http://api.example.com/v1/a%2Fb", told{
		Route: "rest", Upstream: "orders", Refused: "path_encoded", Host: "http://api.example.com", Path: "/v1/a%2Fb",
	})
	f("the limits of the listener without TLS", "GET", "http://api.example.com/s?1&2", told{
		Refused: "query_params", Host: "http://api.example.com", Path: "/s?1&2",
	})
	f("and of the one with it", "GET", "https://api.example.com/s?1&2", told{
		Route: "slash", Upstream: "orders", Endpoint: addr, Host: "https://api.example.com", Path: "/s?1&2",
	})
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if e := snap.clusters["orders"].Endpoints()[0]; e.Requests != 0 || e.Active != 0 {
		t.Errorf("the endpoint counts %+v", e)
	}
	p.wantIdle(t, "order", "rest", "slash")
}

// Without discovery there is still everything but the endpoint.
func TestExplainBeforeTheStart(t *testing.T) {
	p := newProcess(t)
	snap := p.compile(oneUpstream + "routes: [{name: r, match: {prefix: /}, to: a}]\n")
	want := told{Route: "r", Upstream: "a", Refused: "no_healthy_endpoint", Host: "https://x", Path: "/"}
	// There is no listener with TLS: the one there is must do.
	if diff := cmp.Diff(want, explain(t, snap, "GET", "https://x/")); diff != "" {
		t.Error(diff)
	}
}

// A middleware may send a request to something else than an upstream of the
// configuration, such as a choice between several.
func TestExplainOfAnUnknownCluster(t *testing.T) {
	p := newProcess(t)
	snap := p.start(oneUpstream + "routes: [{name: r, match: {prefix: /}, to: a}]\n")
	step := &snap.routes[0].steps
	*step = append(*step, namedStep{gateway.Step{Explain: func(_ *http.Request, x *gateway.Exchange) string {
		x.Cluster, x.Upstream = nil, "elsewhere"
		return "elsewhere"
	}}, "dispatch"})
	if got := explain(t, snap, "GET", "http://x/"); got.Endpoint != "" || got.Upstream != "elsewhere" {
		t.Errorf("got %+v", got)
	}
}

func TestOrder(t *testing.T) {
	p := newProcess(t)
	snap := p.compile(oneUpstream + lines(
		`routes:`,
		`  - {name: all, match: {prefix: /}, to: a}`,
		`  - {name: expression, match: {path_regex: "/x.*"}, to: a}`,
		`  - {name: host, match: {host: a.example, prefix: /}, to: a}`,
		`  - {name: template, match: {path: "/x/{id}"}, to: a}`,
		`  - {name: exact, match: {path: /x/y}, to: a}`,
		`  - {name: wildcard, match: {host: "*.example", prefix: /x}, to: a}`,
		`  - {name: prefix, match: {prefix: /x}, to: a}`,
	))
	var got []string
	for _, r := range snap.Order() {
		got = append(got, r.Name)
	}
	if got := strings.Join(got, " "); got != "host wildcard exact template prefix expression all" {
		t.Errorf("the order is %s", got)
	}
}

func TestClusters(t *testing.T) {
	p := newProcess(t)
	snap := p.compile(`upstreams: {b: {discover: {static: {targets: ["127.0.0.1:1"]}}}, a: {discover: {static: {targets: ["127.0.0.1:1"]}}}}`)
	if all := snap.Clusters(); len(all) != 2 || all[0].Name() != "a" || all[1].Name() != "b" {
		t.Errorf("the upstreams are %v", all)
	}
}
