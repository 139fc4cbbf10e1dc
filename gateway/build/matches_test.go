package build

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
)

const manyMatches = `listeners: {web: {address: ":8080"}, inside: {address: ":8081"}}
upstreams: {a: {discover: {static: {targets: ["127.0.0.1:9000"]}}}}
routes:
  - name: several
    match:
      - {path: /exact}
      - {prefix: /v1, headers: {x-tenant: {regex: "[a-z]+"}}}
      - {prefix: /v1, query: {debug: {absent: true}}, methods: [POST]}
    to: a
  - {name: longer, match: {prefix: /exact}, to: a}
  - {name: shorter, match: {prefix: /v1}, to: a}
  - {name: office, match: {path: /where, clients: [192.0.2.0/24]}, to: a}
  - {name: inside, match: {path: /where, listeners: [inside]}, to: a}
  - {name: call, match: {grpc: {service: shop.v1.Orders, method: {regex: Get.*}}}, to: a}
  - {name: answers, match: {path: /here}, use: [respond: {status: 204}]}
`

// Each match of a route counts for itself.
func TestMatchesOfRoutes(t *testing.T) {
	p := newProcess(t)
	snap := p.start(manyMatches)
	f := func(method, url, want string, header ...string) {
		t.Helper()
		if got := explain(t, snap, method, url, header...); got.Route != want {
			t.Errorf("%s %s %v: route %q, want %q", method, url, header, got.Route, want)
		}
	}
	f("GET", "http://x/exact", "several")
	f("GET", "http://x/exact/more", "longer")
	f("GET", "http://x/v1/a", "several", "X-Tenant", "abc")
	f("GET", "http://x/v1/a", "shorter", "X-Tenant", "123")
	f("POST", "http://x/v1/a", "several")
	f("POST", "http://x/v1/a?debug", "shorter")
	f("GET", "http://x/where", "office")
	f("POST", "http://x/shop.v1.Orders/GetAll", "call", "Content-Type", "application/grpc")
	f("POST", "http://x/shop.v1.Orders/GetAll", "", "Content-Type", "application/json")
	f("GET", "http://x/here", "answers")
	if order := snap.Order(); len(order) != 7 || order[0].Name != "call" || order[1].Name != "several" {
		t.Errorf("%d routes in order, first %s and %s", len(order), order[0].Name, order[1].Name)
	}
}

func TestExplainMatches(t *testing.T) {
	p := newProcess(t)
	snap := p.start(manyMatches)
	f := func(name string, got told, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, got.Nearer); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	f("each match of a route", explain(t, snap, "PUT", "http://x/v1?debug", "X-Tenant", "123"),
		`several: match 3: method PUT, want POST; query parameter debug is "", want none | match 2: header x-tenant is "123", want regex [a-z]+`)
	f("a route that matches by another of its matches", explain(t, snap, "POST", "http://x/v1", "X-Tenant", "123"))

	x := explain(t, snap, "GET", "http://x:8081/where")
	f("the listener of the port", x)
	if x.Route != "office" {
		t.Errorf("route %s: networks come before listeners", x.Route)
	}
}

func TestExplainOfAnswers(t *testing.T) {
	p := newProcess(t)
	snap := p.start("routes:\n  - {match: {}, use: [redirect: {scheme: https}]}\n" + "listeners: {w: {address: \":8080\"}}\n")
	r := request(t, http.MethodGet, "http://x/a")
	e := snap.Explain(r)
	if e.Refused != nil || e.Exchange.Status != 302 || e.Exchange.Upstream != "" || e.Endpoint != "" || e.Exchange.LocalPort != 8080 {
		t.Errorf("%+v, status %d, upstream %q, endpoint %q, port %d", e.Refused, e.Exchange.Status, e.Exchange.Upstream, e.Endpoint, e.Exchange.LocalPort)
	}
	wantReady(t, "no route needs an upstream", snap)
}

// A route that answers by itself is one like any other to logs and metrics.
func TestRouteWithoutUpstream(t *testing.T) {
	p := newProcess(t)
	f := p.serve(p.start("routes:\n  - {name: down, match: {prefix: /down}, use: [respond: {status: 503, body: later}]}\n"+
		"  - {name: away, match: {prefix: /}, use: [redirect: {host: b.example}]}\n"), "web")
	if a := f.ask(t, "GET /down"); a.status != 503 || a.body != "later" || a.x.Route != "down" || a.x.Upstream != "" || a.x.Err != nil {
		t.Errorf("%d %q, %+v", a.status, a.body, a.x)
	}
	if a := f.ask(t, "GET /x"); a.status != 302 || a.header.Get("Location") != "http://b.example/x" || a.x.Route != "away" {
		t.Errorf("%d %v", a.status, a.header)
	}
}

func TestRouteNeedsUpstream(t *testing.T) {
	f := func(name, text string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, newProcess(t).mistakes(text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	const wants = "a route needs `to`, or `respond`, `redirect` or `mock` in `use`"
	f("nothing", "routes:\n  - {match: {}}\n", "2:5: "+wants)
	f("a step that goes on", "routes:\n  - {match: {}, use: [{headers: {request: {remove: [x]}}}]}\n", "2:5: "+wants)
	f("a step that is wrong", "routes:\n  - {match: {}, use: [{respond: {status: 1}}]}\n", "2:42: 1 is not from 200 to 599")
	f("a named one", "middleware: {down: {respond: {status: 503}}}\nroutes:\n  - {match: {}, use: [down]}\n")
	f("after another", "routes:\n  - {match: {}, use: [{headers: {request: {remove: [x]}}}, {redirect: {host: b.example}}]}\n")
	f("a mistake that only the table finds", "routes:\n  - {match: [{}, {headers: {host: a}}], use: [{respond: {}}]}\n",
		"2:19: the host is matched by host, not as a header")
}

// What no route takes is told in the words of gRPC.
func TestUnknownMethodOfGRPC(t *testing.T) {
	p := newProcess(t)
	snap := p.start(manyMatches)
	r := request(t, http.MethodPost, "/shop.v1.Orders/Put")
	r.ProtoMajor = 2
	r.Header.Set("Content-Type", "application/grpc")
	w := httptest.NewRecorder()
	x := &gateway.Exchange{Listener: "web"}
	snap.ServeHTTP(w, gateway.WithExchange(r, x))
	if got := w.Header().Get("Grpc-Status"); w.Code != 200 || got != "12" {
		t.Errorf("status %d, grpc-status %s, want 12 (UNIMPLEMENTED): %v", w.Code, got, x.Err)
	}
}

func TestMatchOfMiddleware(t *testing.T) {
	p := newProcess(t)
	f := func(match string, want middleware.Match) {
		t.Helper()
		cfg := p.parse("upstreams: {a: {discover: {static: {}}}}\nroutes: [{to: a, match: " + match + "}]\n")
		if diff := cmp.Diff(want, matchFor(cfg.Routes[0])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", match, diff)
		}
	}
	f("{}", middleware.Match{Prefix: "/"})
	f("{prefix: /a, methods: [GET]}", middleware.Match{Prefix: "/a", Methods: []string{"GET"}})
	f("{path: '/a/{b}'}", middleware.Match{Path: "/a/{b}"})
	f("{path_regex: /a.*}", middleware.Match{})
	f("{grpc: {}}", middleware.Match{Methods: []string{"POST"}})
	f("[{prefix: /a, methods: [GET]}, {prefix: /a, methods: [PUT, GET], headers: {a: b}}]", middleware.Match{Prefix: "/a", Methods: []string{"GET", "PUT"}})
	f("[{prefix: /a, methods: [GET]}, {prefix: /b}]", middleware.Match{})
	f("[{path: /a}, {prefix: /a}]", middleware.Match{})
}
