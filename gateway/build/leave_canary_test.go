package build

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const leaveCanaryConfig = `
upstreams:
  orders: {discover: {static: {targets: [%[1]q]}}}
  orders-v2: {discover: {static: {targets: [%[2]q]}}}
  both:
    discover: {static: {targets: [{address: %[1]q, tags: [stable]}, {address: %[2]q, tags: [canary]}]}}
    arms: {canary: {tag: canary}, stable: {tag: stable}}
middleware:
  other: {canary: {arms: {stable: {to: orders}, canary: {to: orders-v2}}, split: {stable: 0, canary: 100}, sticky: client, cookie: arm, cookie_secret: 0123456789abcdef0123456789abcdef, response_header: X-Arm}}
  dressed: {canary: {arms: {stable: {to: orders}, canary: {to: orders-v2, headers: {request: {set: {X-Arm: canary}}}}}, split: {stable: 0, canary: 100}}}
  same: {canary: {split: {stable: 0, canary: 100}}}
  again: {retry: {budget: {min: 100}}}
routes:
  - {name: other, match: {host: other.test, prefix: /}, use: [other, again], to: orders}
  - {name: stays, match: {host: stays.test, prefix: /}, use: [other, retry: {leave_canary: false, attempts: 1, budget: {min: 100}}], to: orders}
  - {name: dressed, match: {host: dressed.test, prefix: /}, use: [dressed, retry: {attempts: 1, budget: {min: 100}}], to: orders}
  - {name: same, match: {host: same.test, prefix: /}, use: [same, again], to: both}
`

// A canary that fails costs its requests an attempt, and nothing else.
func TestRetryLeavesTheCanary(t *testing.T) {
	stable := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("stable")) }))
	t.Cleanup(stable.Close)
	canary := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }))
	t.Cleanup(canary.Close)
	p := newProcess(t)
	front := p.serve(p.start(fmt.Sprintf(leaveCanaryConfig, stable.Listener.Addr(), canary.Listener.Addr())), "web")
	f := func(name, request string, status, attempts int, upstream, arm, by string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			a := front.ask(t, request)
			if a.status != status || a.x.Attempts != attempts || a.x.Upstream != upstream || a.x.Arm != arm || a.x.ArmBy != by {
				t.Errorf("got %d after %d attempts, from %s, arm %s by %s; want %d after %d, from %s, arm %s by %s",
					a.status, a.x.Attempts, a.x.Upstream, a.x.Arm, a.x.ArmBy, status, attempts, upstream, arm, by)
			}
			if label := a.header.Get("X-Arm"); label != "" && label != arm {
				t.Errorf("the answer says that it is of %s", label)
			}
			if cookie := a.header.Get("Set-Cookie"); cookie != "" && !strings.HasPrefix(cookie, "arm=canary") {
				t.Errorf("the client is kept elsewhere: %s", cookie)
			}
		})
	}
	f("to another upstream", "GET http://other.test/", 200, 2, "orders", "stable", "retry")
	f("with a body", "PUT http://other.test/\n\nthe whole body", 200, 2, "orders", "stable", "retry")
	f("not a POST", "POST http://other.test/\n\nthe whole body", 503, 1, "orders-v2", "canary", "split")
	f("not if the client asks for it", "GET http://other.test/\nX-Canary: always", 503, 3, "orders-v2", "canary", "header")
	f("not if the operator does not want it", "GET http://stays.test/", 503, 2, "orders-v2", "canary", "split")
	f("not in the headers of the canary", "GET http://dressed.test/", 503, 2, "orders-v2", "canary", "random")
	f("to the rest of the same upstream", "GET http://same.test/", 200, 2, "both", "stable", "retry")
}
