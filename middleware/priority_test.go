package middleware_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestPriority(t *testing.T) {
	trusted := func(_ *http.Request, x *gateway.Exchange) { x.Trusted = true }
	is := func(want gateway.Priority) func(testing.TB, middlewaretest.Answer) {
		return func(t testing.TB, a middlewaretest.Answer) {
			t.Helper()
			if a.Exchange.Priority != want {
				t.Errorf("priority %s, want %s", a.Exchange.Priority, want)
			}
		}
	}
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	middlewaretest.Run(t, env, "priority: {level: low, header: x-priority}", []middlewaretest.Case{
		{Name: "the level", Check: is(gateway.PriorityLow)},
		{Name: "the header of a stranger", Request: "GET /\nX-Priority: high", Check: is(gateway.PriorityLow)},
		{
			Name: "the header of a trusted proxy", Request: "GET /\nX-Priority: high", Prepare: trusted,
			Check: is(gateway.PriorityHigh), Sent: map[string]string{"X-Priority": "high"},
		},
		{Name: "another word", Request: "GET /\nX-Priority: urgent", Prepare: trusted, Check: is(gateway.PriorityLow)},
		{Name: "two", Request: "GET /\nX-Priority: high\nX-Priority: normal", Prepare: trusted, Check: is(gateway.PriorityLow)},
	})
	middlewaretest.Run(t, env, "priority: {level: high}", []middlewaretest.Case{
		{Name: "only the level", Request: "GET /\nX-Priority: low", Prepare: trusted, Check: is(gateway.PriorityHigh)},
	})
	for block, want := range map[string]string{
		"priority: {level: urgent}": `1:19: "urgent" is none of low, normal, high`,
		`priority: {header: "a b"}`: `1:20: "a b" is no name of a header`,
		"priority: {level: normal}": "1:1: every request has a normal priority anyway; give level or header",
	} {
		if diff := cmp.Diff([]string{want}, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
}
