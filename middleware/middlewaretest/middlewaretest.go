// Package middlewaretest tests a middleware the way an operator meets it: built
// from its settings in YAML, with a request going in and an answer, an exchange
// and a request to the upstream coming out.
//
//	package middleware_test // importing this package from inside would be a cycle
//
//	func TestHeaderGuard(t *testing.T) {
//		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
//		middlewaretest.Run(t, env, "header_guard: {max: 1}", []middlewaretest.Case{
//			{Name: "one", Request: "GET /\nX-A: 1"},
//			{Name: "two", Request: "GET /\nX-A: 1\nX-B: 2", Status: 431, Reason: "too_many_headers"},
//		})
//		want := []string{`1:21: must be at least 1`}
//		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "header_guard: {max: 0}")); diff != "" {
//			t.Error(diff)
//		}
//	}
//
// What depends on time is tested with Build and Send inside [synctest.Test],
// where Run cannot be used because it makes subtests.
package middlewaretest

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/middleware"
)

// Env is what the gateway gives to a middleware of a route. to is where the
// route goes; it and the others are found by name. When the test ends, the kept
// values are closed, and a goroutine that is left fails the test.
func Env(t testing.TB, to *Cluster, others ...*Cluster) middleware.Env {
	t.Helper()
	before := goleak.IgnoreCurrent()
	pool := keep.NewPool()
	scope := pool.Scope()
	t.Cleanup(func() {
		if err := scope.Close(); err != nil {
			t.Errorf("closing what the middleware keeps: %v", err)
		}
		goleak.VerifyNone(t, before)
	})
	process := obs.NewMetrics(obs.Build{})
	metrics := process.Route("test")
	clusters := append([]*Cluster{to}, others...)
	return middleware.Env{
		Route: "test",
		To:    to,
		Upstream: func(name string) (gateway.Cluster, bool) {
			for _, c := range clusters {
				if c.name == name {
					return c, true
				}
			}
			return nil, false
		},
		Key:     "route/test/middleware/0",
		Keep:    scope,
		Metrics: func() *obs.Route { return metrics },
		Process: process,
		Log:     slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}
