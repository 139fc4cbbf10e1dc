package middleware_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

type (
	cases  = []middlewaretest.Case
	header = map[string]string
)

// orders is the environment of a route to an upstream with three arms.
func orders(t testing.TB) (middleware.Env, *middlewaretest.Cluster) {
	t.Helper()
	cluster := middlewaretest.NewCluster("orders", "stable", "canary", "beta")
	return middlewaretest.Env(t, cluster), cluster
}

// send sends one request to the step.
func send(t testing.TB, env middleware.Env, step gateway.Step, request string, x *gateway.Exchange) middlewaretest.Answer {
	t.Helper()
	return middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), x)
}

// subjectOn is a subject that the split of step draws for arm.
func subjectOn(t testing.TB, env middleware.Env, step gateway.Step, arm string) string {
	t.Helper()
	for i := range 10_000 {
		subject := fmt.Sprintf("user-%d", i)
		x := &gateway.Exchange{Cluster: env.To}
		x.Subject = subject
		if step.Explain(middlewaretest.Request(t, "GET /"), x); x.Arm == arm {
			return subject
		}
	}
	t.Fatalf("nobody is on arm %s", arm)
	return ""
}

// The two forms that everybody writes.
func TestCanaryForms(t *testing.T) {
	t.Run("arms are subsets", func(t *testing.T) {
		env, _ := orders(t)
		block := "canary: {header: x-canary, split: {stable: 95, canary: 5}, sticky: subject}"
		step := middlewaretest.Build(t, env, block)
		if diff := cmp.Diff([]gateway.Identity{gateway.Subject}, step.Needs); diff != "" {
			t.Errorf("needs (-want +got):\n%s", diff)
		}
		middlewaretest.Run(t, env, block, cases{
			{Name: "header", Request: "GET /\nX-Canary: always", Arm: "canary", ArmBy: "header", Subset: "canary"},
			{Name: "most stay", Subject: subjectOn(t, env, step, "stable"), Arm: "stable", ArmBy: "split", Subset: "stable"},
			{Name: "some go", Subject: subjectOn(t, env, step, "canary"), Arm: "canary", ArmBy: "split", Subset: "canary"},
			{
				Name: "header before split", Request: "GET /\nX-Canary: never", Subject: subjectOn(t, env, step, "canary"),
				Arm: "stable", ArmBy: "header", Subset: "stable",
			},
		})
	})
	t.Run("arms are upstreams", func(t *testing.T) {
		v1, v2 := middlewaretest.NewCluster("orders"), middlewaretest.NewCluster("orders-v2")
		middlewaretest.Run(t, middlewaretest.Env(t, v1, v2),
			"canary: {header: x-canary, arms: {stable: {to: orders}, canary: {to: orders-v2}}, split: {stable: 0, canary: 5}}", cases{
				{Name: "always", Request: "GET /\nX-Canary: always", Arm: "canary", ArmBy: "header", To: "orders-v2"},
				{Name: "never", Request: "GET /\nX-Canary: never", Arm: "stable", ArmBy: "header", To: "orders"},
				{Name: "drawn", Arm: "canary", ArmBy: "random", To: "orders-v2"},
			})
	})
	t.Run("a subset of another upstream", func(t *testing.T) {
		v1, v2 := middlewaretest.NewCluster("orders"), middlewaretest.NewCluster("orders-v2", "eu")
		middlewaretest.Run(t, middlewaretest.Env(t, v1, v2),
			"canary: {arms: {stable: {}, eu: {to: orders-v2, subset: eu}, canary: {to: orders-v2}}}", cases{
				{Name: "subset", Request: "GET /\nX-Canary: eu", Arm: "eu", ArmBy: "header", Subset: "eu", To: "orders-v2"},
				{Name: "the route's own", Arm: "stable", ArmBy: "default", To: "orders"},
			})
	})
	t.Run("shortest", func(t *testing.T) {
		env, _ := orders(t)
		middlewaretest.Run(t, env, "canary: {}", cases{
			{Name: "header", Request: "GET /\nX-Canary: always", Arm: "canary", ArmBy: "header", Subset: "canary"},
			{Name: "no split", Arm: "stable", ArmBy: "default", Subset: "stable"},
		})
	})
	t.Run("two arms under other names", func(t *testing.T) {
		env, _ := orders(t)
		middlewaretest.Run(t, env, "canary: {stable: canary, split: {canary: 1, beta: 0}}", cases{
			{Name: "always", Request: "GET /\nX-Canary: always", Arm: "beta", ArmBy: "header", Subset: "beta"},
			{Name: "never", Request: "GET /\nX-Canary: never", Arm: "canary", ArmBy: "header", Subset: "canary"},
		})
	})
}

// With weights of 1 and 0 a request that nothing forces is on the stable arm.
func TestCanaryHeader(t *testing.T) {
	env, _ := orders(t)
	f := func(settings string, all cases) {
		t.Helper()
		for i := range all {
			if all[i].Sent == nil {
				all[i].Sent = header{"X-Canary": ""}
			}
			all[i].Subset = all[i].Arm
		}
		middlewaretest.Run(t, env, "canary: {split: {stable: 1, canary: 0, beta: 0}"+settings+"}", all)
	}
	const always = "GET /\nX-Canary: always"
	f("", cases{
		{Name: "always", Request: always, Arm: "canary", ArmBy: "header"},
		{Name: "never", Request: "GET /\nx-canary: never", Arm: "stable", ArmBy: "header"},
		{Name: "arm name", Request: "GET /\nX-Canary: beta", Arm: "beta", ArmBy: "header"},
		{Name: "unknown value falls through", Request: "GET /\nX-Canary: Always", Arm: "stable", ArmBy: "random"},
		{Name: "empty falls through", Request: "GET /\nX-Canary:", Arm: "stable", ArmBy: "random"},
		{Name: "given twice falls through", Request: "GET /\nX-Canary: always\nX-Canary: always", Arm: "stable", ArmBy: "random"},
		{Name: "absent", Arm: "stable", ArmBy: "random"},
		{Name: "HEAD", Request: "HEAD /\nX-Canary: always", Arm: "canary", ArmBy: "header"},
		{Name: "OPTIONS", Request: "OPTIONS /\nX-Canary: always", Arm: "canary", ArmBy: "header"},
	})
	f(", header_value: on", cases{
		{Name: "exact value", Request: "GET /\nX-Canary: on", Arm: "canary", ArmBy: "header"},
		{Name: "always means nothing beside an exact value", Request: always, Arm: "stable", ArmBy: "random"},
	})
	f(", header_pattern: ^v2", cases{
		{Name: "pattern", Request: "GET /\nX-Canary: v2.1", Arm: "canary", ArmBy: "header"},
		{Name: "pattern does not match", Request: always, Arm: "stable", ArmBy: "random"},
	})
	f(", header: x-preview", cases{
		{Name: "another header", Request: "GET /\nX-Preview: always", Arm: "canary", ArmBy: "header", Sent: header{"X-Preview": ""}},
		{Name: "not this one", Request: always, Arm: "stable", ArmBy: "random", Sent: header{"X-Canary": "always"}},
	})
	f(`, header: ""`, cases{
		{Name: "no header", Request: always, Arm: "stable", ArmBy: "random", Sent: header{"X-Canary": "always"}},
	})
	f(", forward: true", cases{
		{Name: "forward", Request: always, Arm: "canary", ArmBy: "header", Sent: header{"X-Canary": "always"}},
	})
	f(", allow_from: [10.0.0.0/8, \"2001:db8::/32\"]", cases{
		{Name: "I18 from a network that may not force", Request: always, Arm: "stable", ArmBy: "random"},
		{Name: "I18 an arm by name", Request: "GET /\nX-Canary: beta", Arm: "stable", ArmBy: "random"},
		{Name: "I18 from a network that may", Client: "10.1.2.3", Request: always, Arm: "canary", ArmBy: "header"},
		{Name: "I18 from an IPv6 network that may", Client: "2001:db8::1", Request: always, Arm: "canary", ArmBy: "header"},
		{
			Name: "I18 an address that is claimed", Request: always + "\nX-Forwarded-For: 10.1.2.3", Arm: "stable", ArmBy: "random",
		},
	})
	f(", allow_from: []", cases{
		{Name: "I18 nobody may force", Client: "127.0.0.1", Request: always, Arm: "stable", ArmBy: "random"},
	})
	f(", forward: true, allow_from: [10.0.0.0/8]", cases{
		{Name: "I18 what is not obeyed is not forwarded", Request: always, Arm: "stable", ArmBy: "random"},
		{Name: "I18 what is obeyed is", Client: "10.1.2.3", Request: always, Arm: "canary", ArmBy: "header", Sent: header{"X-Canary": "always"}},
	})
}

// A cache that does not know the header would give the canary's answer, which
// anybody can ask for, to everybody.
func TestCanaryVary(t *testing.T) {
	env, cluster := orders(t)
	cluster.Handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Vary", "Accept") })
	middlewaretest.Run(t, env, "canary: {}", cases{
		{
			Name: "forced", Request: "GET /\nX-Canary: always", Arm: "canary", ArmBy: "header", Subset: "canary",
			Header: header{"Vary": "X-Canary, Accept"},
		},
		{Name: "not forced", Request: "GET /\nX-Canary: no", Arm: "stable", ArmBy: "default", Subset: "stable", Header: header{"Vary": "Accept"}},
	})
}

func TestCanaryFallback(t *testing.T) {
	const always = "GET /\nX-Canary: always"
	state := func(t *testing.T, stable, canary int) middleware.Env {
		t.Helper()
		env, cluster := orders(t)
		cluster.SetHealthy("stable", stable)
		cluster.SetHealthy("canary", canary)
		return env
	}
	run := func(name string, stable, canary int, settings string, c middlewaretest.Case) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			c.Name, c.Subset = "request", c.Arm
			middlewaretest.Run(t, state(t, stable, canary), "canary: {"+settings+"}", cases{c})
		})
	}
	run("canary empty", 1, 0, "", middlewaretest.Case{Request: always, Arm: "stable", ArmBy: "fallback"})
	run("canary empty by split", 1, 0, "split: {stable: 0, canary: 1}", middlewaretest.Case{Arm: "stable", ArmBy: "fallback"})
	run("fallback none", 1, 0, "fallback: none", middlewaretest.Case{Request: always, Arm: "canary", ArmBy: "header"})
	run("both empty", 0, 0, "", middlewaretest.Case{Request: always, Arm: "canary", ArmBy: "header"})
	run("another arm", 1, 0, "fallback: beta", middlewaretest.Case{Request: always, Arm: "beta", ArmBy: "fallback"})
	run("stable empty stays", 0, 1, "", middlewaretest.Case{Arm: "stable", ArmBy: "default"})
	run("stable empty stays with a split", 0, 1, "split: {stable: 1, canary: 0}", middlewaretest.Case{Arm: "stable", ArmBy: "random"})
	run("stable empty with a named fallback", 0, 1, "fallback: canary", middlewaretest.Case{Arm: "canary", ArmBy: "fallback"})
	run("the fallback itself empty", 1, 0, "fallback: canary", middlewaretest.Case{Request: always, Arm: "canary", ArmBy: "header"})

	t.Run("to another upstream and back", func(t *testing.T) {
		v1, v2 := middlewaretest.NewCluster("orders"), middlewaretest.NewCluster("orders-v2")
		env := middlewaretest.Env(t, v1, v2)
		step := middlewaretest.Build(t, env, "canary: {arms: {stable: {}, canary: {to: orders-v2}}}")
		for _, healthy := range []int{1, 0, 1} {
			v2.SetHealthy("", healthy)
			want := map[int]string{0: "orders stable fallback", 1: "orders-v2 canary header"}[healthy]
			a := send(t, env, step, always, &gateway.Exchange{})
			if got := strings.Join([]string{a.Exchange.Upstream, a.Exchange.Arm, a.Exchange.ArmBy}, " "); got != want {
				t.Errorf("with %d healthy: %s, want %s", healthy, got, want)
			}
			if a.Exchange.Cluster.Name() != a.Exchange.Upstream {
				t.Errorf("goes to %s instead of %s", a.Exchange.Cluster.Name(), a.Exchange.Upstream)
			}
		}
	})
}

func TestCanaryResponseHeader(t *testing.T) {
	env, cluster := orders(t)
	cluster.Handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Arm", "of the upstream") })
	block := "canary: {response_header: x-arm}"
	middlewaretest.Run(t, env, block, cases{
		{Name: "stable", Arm: "stable", ArmBy: "default", Subset: "stable", Header: header{"X-Arm": "stable"}},
		{Name: "canary", Request: "HEAD /\nX-Canary: always", Arm: "canary", ArmBy: "header", Subset: "canary", Header: header{"X-Arm": "canary"}},
	})
	middlewaretest.Run(t, env, "canary: {}", cases{
		{Name: "without", Arm: "stable", ArmBy: "default", Subset: "stable", Header: header{"X-Arm": "of the upstream"}},
	})
	cluster.Break(&gateway.Error{Status: 502, Reason: "broken"})
	middlewaretest.Run(t, env, block, cases{{
		Name: "an error has an arm too", Request: "GET /\nX-Canary: always", Status: 502, Reason: "broken", To: "orders",
		Arm: "canary", ArmBy: "header", Subset: "canary", Header: header{"X-Arm": "canary", "Vary": ""},
	}})
}

// Answers share the arm's name, to which nothing may be added.
func TestCanaryResponseHeaderIsShared(t *testing.T) {
	env, cluster := orders(t)
	cluster.Handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Arm", "of the upstream") })
	step := middlewaretest.Build(t, env, "canary: {response_header: x-arm}")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				a := send(t, env, step, "GET /\nX-Canary: always", &gateway.Exchange{})
				if diff := cmp.Diff([]string{"canary"}, a.Header["X-Arm"]); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
	wg.Wait()
}

// What a handler does to its writer must reach the one below.
func TestCanaryResponseHeaderKeepsTheWriter(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "canary: {response_header: x-arm}")
	w := &recorder{h: http.Header{}}
	step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if got := w.Header().Get("X-Arm"); got != "stable" {
			t.Errorf("the head of an upgrade, which is written elsewhere, would have %q", got)
		}
		w.Header().Set("X-Arm", "hint")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(t, "GET /"), &gateway.Exchange{}))
	if diff := cmp.Diff([]string{"103 hint", "200 stable", "flush"}, w.saw); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What steps further out have set stays.
func TestCanaryAddsToTheAnswer(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "canary: {split: {stable: 1, canary: 0}, cookie: arm}")
	h := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	f := func(request, name string) {
		t.Helper()
		w := &recorder{h: http.Header{name: {"from outside"}}}
		h.ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(t, request), &gateway.Exchange{}))
		if got := w.h[name]; len(got) != 2 || got[0] != "from outside" {
			t.Errorf("%s: %q", name, got)
		}
	}
	f("GET /", "Set-Cookie")
	f("GET /", "Cache-Control")
	f("GET /\nX-Canary: always", "Vary")
}

// recorder is a writer that remembers what was done to it.
type recorder struct {
	h   http.Header
	saw []string
}

func (w *recorder) Header() http.Header         { return w.h }
func (w *recorder) Write(p []byte) (int, error) { return len(p), nil }
func (w *recorder) WriteHeader(status int) {
	w.saw = append(w.saw, fmt.Sprintf("%d %s", status, w.h.Get("X-Arm")))
}
func (w *recorder) Flush() { w.saw = append(w.saw, "flush") }

func TestCanaryExplain(t *testing.T) {
	env, cluster := orders(t)
	f := func(name, settings, request, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			step := middlewaretest.Build(t, env, "canary: {"+settings+"}")
			a := send(t, env, step, request, &gateway.Exchange{Client: clientAddr})
			r, x := middlewaretest.Request(t, request), &gateway.Exchange{Client: clientAddr}
			if got := step.Explain(r, x); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if x.Arm != a.Exchange.Arm || x.ArmBy != a.Exchange.ArmBy || x.Subset != a.Exchange.Subset || x.Upstream != a.Exchange.Upstream {
				t.Errorf("explained %s by %s, happened %s by %s", x.Arm, x.ArmBy, a.Exchange.Arm, a.Exchange.ArmBy)
			}
			h := http.Header{"X-Canary": {"kept"}}
			if x.ApplyUpstreamHeaders(h); len(h) != 1 {
				t.Error("explaining has changed what goes upstream")
			}
		})
	}
	const split = "split: {stable: 95, canary: 5}"
	f("header", split, "GET /\nX-Canary: always", "arm canary (orders, subset canary), by header x-canary: always")
	f("split", split+", sticky: client", "GET /", "arm stable (orders, subset stable), by split canary 5, stable 95 by client")
	f("random", "split: {stable: 1, canary: 0}", "GET /", "arm stable (orders, subset stable), by split canary 0, stable 1 at random")
	f("no sticky value", `split: {stable: 1, canary: 0}, sticky: "header:x-user"`, "GET /",
		"arm stable (orders, subset stable), by split canary 0, stable 1 at random, for want of header:X-User")
	f("no split", "", "GET /", "arm stable (orders, subset stable), by default: there is no split")
	f("cookie", split+", cookie: arm", "GET /\nCookie: arm=canary", "arm canary (orders, subset canary), by cookie arm")
	f("header that may not force", "allow_from: [10.0.0.0/8]", "GET /\nX-Canary: always",
		"x-canary: always is ignored, 192.0.2.7 is not in allow_from; arm stable (orders, subset stable), by default: there is no split")
	f("header without a meaning", "", "GET /\nX-Canary: perhaps",
		"x-canary: perhaps is ignored, it means no arm; arm stable (orders, subset stable), by default: there is no split")
	f("header given twice", "", "GET /\nX-Canary: always\nX-Canary: never",
		"x-canary is ignored, it is given 2 times; arm stable (orders, subset stable), by default: there is no split")
	f("whole upstream", "arms: {stable: {}, canary: {to: orders}}", "GET /", "arm stable (orders), by default: there is no split")
	cluster.SetHealthy("canary", 0)
	f("fallback", "", "GET /\nX-Canary: always",
		"arm stable (orders, subset stable), by fallback: arm canary, by header x-canary: always, has no healthy endpoint")
}
