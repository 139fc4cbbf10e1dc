package middleware_test

import (
	"net/http"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const armHeaders = `canary:
  header: x-canary
  arms:
    stable: {to: orders, headers: {response: {set: {x-version: "1"}}}}
    canary: {to: orders-v2, headers: {request: {set: {x-env: next}, remove: [x-debug], add: {x-tag: canary}}, response: {set: {x-version: "2"}, add: {vary: x-tag}, remove: [server]}}}
`

// Each arm changes the headers of its own requests and answers: the filters of a
// backendRef in the Gateway API.
func TestCanaryArmHeaders(t *testing.T) {
	v1, v2 := middlewaretest.NewCluster("orders"), middlewaretest.NewCluster("orders-v2")
	answer := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "app")
		w.Header().Set("X-Version", "of the upstream")
	}
	env := middlewaretest.Env(t, v1.Handle(answer), v2.Handle(answer))
	middlewaretest.Run(t, env, armHeaders, cases{
		{
			Name: "stable", Request: "GET /\nX-Debug: 1\nX-Env: of the client", Arm: "stable", ArmBy: "default",
			Sent: header{"X-Debug": "1", "X-Env": "of the client", "X-Tag": ""}, Header: header{"X-Version": "1", "Server": "app"},
		},
		{
			Name: "canary", Request: "GET /\nX-Debug: 1\nX-Env: of the client\nX-Tag: a\nX-Canary: always", Arm: "canary", ArmBy: "header", To: "orders-v2",
			Sent:   header{"X-Debug": "", "X-Env": "next", "X-Tag": "a, canary", "X-Canary": ""},
			Header: header{"X-Version": "2", "Server": "", "Vary": "X-Canary, x-tag"},
		},
	})
	v2.SetHealthy("", 0)
	middlewaretest.Run(t, env, armHeaders, cases{{
		Name: "the arm that takes over", Request: "GET /\nX-Debug: 1\nX-Canary: always", Arm: "stable", ArmBy: "fallback",
		Sent: header{"X-Debug": "1", "X-Tag": ""}, Header: header{"X-Version": "1"},
	}})
	v1.Break(&gateway.Error{Status: 502, Reason: "broken"})
	middlewaretest.Run(t, env, armHeaders, cases{{
		Name: "an error", Status: 502, Reason: "broken", To: "orders", Arm: "stable", ArmBy: "default", Header: header{"X-Version": "1"},
	}})
}

func TestCanaryArmHeadersExplain(t *testing.T) {
	v1, v2 := middlewaretest.NewCluster("orders"), middlewaretest.NewCluster("orders-v2")
	step := middlewaretest.Build(t, middlewaretest.Env(t, v1, v2), armHeaders)
	got := step.Explain(middlewaretest.Request(t, "GET /\nX-Canary: always"), &gateway.Exchange{})
	want := "arm canary (orders-v2), by header x-canary: always; request: remove X-Debug, set X-Env, add X-Tag; response: remove Server, set X-Version, add Vary"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Between two sockets a client can neither forge nor take away what an arm sets.
func TestWholeCanaryArmHeaders(t *testing.T) {
	g := serveWhole(t, nothing, `{match: {prefix: /}, to: up, use: [
      headers: {request: {set: {x-env: prod}}, response: {set: {x-version: outer}}},
      canary: {header: x-canary, arms: {stable: {to: up}, canary: {to: up, headers: {request: {set: {x-env: next}}, response: {set: {x-version: "2"}, add: {x-arm: canary}}}}}}]}`)
	f := func(name, env, arm string, lines ...string) {
		t.Run(name, func(t *testing.T) {
			res, _ := g.ask(t, append([]string{"GET /"}, lines...)...)
			r := g.got()
			if r == nil || r.Header.Get("X-Env") != env || res.Header.Get("X-Arm") != arm || res.Header.Get("X-Version") != "outer" {
				t.Errorf("%d %v, upstream got %v", res.StatusCode, res.Header, r)
			}
		})
	}
	f("stable", "prod", "")
	f("canary", "next", "canary", "X-Canary: always")
	f("forged", "next", "canary", "X-Canary: always", "X-Env: forged", "Connection: X-Env")
}
