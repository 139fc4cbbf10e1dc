package middleware_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// The canary annotations of ingress-nginx, each as the settings that docs/howto/canary.md
// names for it. On ties a request is on the stable arm, whose weight is 1.
func TestCanaryAnnotations(t *testing.T) {
	env, _ := orders(t)
	f := func(annotation, settings string, all cases) {
		t.Helper()
		for i := range all {
			all[i].Subset = all[i].Arm
		}
		t.Run(annotation, func(t *testing.T) { middlewaretest.Run(t, env, "canary: {"+settings+"}", all) })
	}
	get := func(name, lines, arm, by string) middlewaretest.Case {
		return middlewaretest.Case{Name: name, Request: "GET /" + lines, Arm: arm, ArmBy: by}
	}
	f("canary-by-header", "header: x-c, split: {stable: 1, canary: 0}", cases{
		get("always", "\nX-C: always", "canary", "header"), get("never", "\nX-C: never", "stable", "header"),
		get("another value", "\nX-C: 1", "stable", "random"), get("none", "", "stable", "random"),
	})
	f("canary-by-header never before the weight", "header: x-c, split: {stable: 0, canary: 1}", cases{
		get("never", "\nX-C: never", "stable", "header"), get("none", "", "canary", "random"),
	})
	f("canary-by-header-value", "header: x-c, header_value: yes please, force_cookie: c, split: {stable: 1, canary: 0}", cases{
		get("the value", "\nX-C: yes please", "canary", "header"),
		get("always is no word any more", "\nX-C: always", "stable", "random"),
		get("never is no word any more", "\nX-C: never\nCookie: c=always", "canary", "cookie"),
	})
	f("canary-by-header-pattern", `header: x-c, header_pattern: "^(a|b)$", force_cookie: c, split: {stable: 1, canary: 0}`, cases{
		get("a match", "\nX-C: b", "canary", "header"), get("no match", "\nX-C: ab", "stable", "random"),
		get("after no match the cookie", "\nX-C: ab\nCookie: c=always", "canary", "cookie"),
	})
	f("canary-by-cookie", `header: "", force_cookie: c, split: {stable: 1, canary: 0}`, cases{
		get("always", "\nCookie: a=b; c=always", "canary", "cookie"), get("never", "\nCookie: c=never", "stable", "cookie"),
		get("another value", "\nCookie: c=1", "stable", "random"), get("none", "", "stable", "random"),
		get("sent twice", "\nCookie: c=always; c=always", "stable", "random"),
	})
	f("canary-by-cookie without a weight", `header: "", force_cookie: c`, cases{
		get("always", "\nCookie: c=always", "canary", "cookie"), get("none", "", "stable", "default"),
	})
	f("header before cookie before weight", `header: x-c, force_cookie: c, split: {stable: 0, canary: 1}`, cases{
		get("header", "\nX-C: never\nCookie: c=always", "stable", "header"), get("cookie", "\nCookie: c=never", "stable", "cookie"),
		get("weight", "", "canary", "random"),
	})
	const sticky = "header: x-c, force_cookie: c, cookie: arm, cookie_first: true, split: {stable: 1, canary: 1}"
	f("affinity-canary-behavior sticky", sticky, cases{
		get("on the canary", "\nCookie: arm=canary\nX-C: never", "canary", "cookie"),
		get("on the primary", "\nCookie: arm=stable; c=always", "stable", "cookie"),
		{
			Name: "who is forced stays there", Request: "GET /\nX-C: always", Arm: "canary", ArmBy: "header",
			Header: header{"Set-Cookie": "arm=canary; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax", "Vary": "X-C"},
		},
		{
			Name: "who is forced by cookie too", Request: "GET /\nCookie: c=never", Arm: "stable", ArmBy: "cookie",
			Header: header{"Set-Cookie": "arm=stable; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax", "Vary": "Cookie"},
		},
		{
			Name: "who has the cookie gets no other", Request: "GET /\nCookie: arm=canary", Arm: "canary", ArmBy: "cookie",
			Header: header{"Set-Cookie": "", "Vary": ""},
		},
	})
	f("affinity-canary-behavior legacy", "header: x-c, split: {stable: 1, canary: 0}", cases{
		get("each request anew", "\nCookie: arm=canary", "stable", "random"), get("the header decides", "\nCookie: arm=stable\nX-C: always", "canary", "header"),
	})
}

// shares counts the arms of requests that nothing forces, and compares with the
// weights. A right split fails less than once in a million runs: five standard deviations.
func shares(t *testing.T, settings string, weights map[string]float64) {
	t.Helper()
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders", "stable", "canary", "beta"))
	step := middlewaretest.Build(t, env, "canary: {"+settings+"}")
	const n = 20_000
	got, sum := map[string]float64{}, 0.0
	r := middlewaretest.Request(t, "GET /")
	for range n {
		x := &gateway.Exchange{Cluster: env.To}
		step.Explain(r, x)
		got[x.Arm]++
	}
	for _, weight := range weights {
		sum += weight
	}
	for arm, weight := range weights {
		p := weight / sum
		if off := math.Abs(got[arm] - n*p); off > 5*math.Sqrt(n*p*(1-p)) {
			t.Errorf("%s: arm %s got %v of %d requests, want a share of %v", settings, arm, got[arm], n, p)
		}
	}
}

// canary-weight and canary-weight-total are the weight of the canary and the
// sum of both; a weight of the Gateway API is any number from 0 up. Each
// request is drawn anew when nothing is sticky.
func TestCanaryWeights(t *testing.T) {
	big := strconv.Itoa(math.MaxInt64)
	for name, f := range map[string]func(t *testing.T){
		"canary-weight": func(t *testing.T) {
			shares(t, "split: {stable: 80, canary: 20}", map[string]float64{"stable": 80, "canary": 20})
		},
		"canary-weight 0": func(t *testing.T) {
			shares(t, "split: {stable: 100, canary: 0}", map[string]float64{"stable": 1, "canary": 0})
		},
		"canary-weight 100": func(t *testing.T) {
			shares(t, "split: {stable: 0, canary: 100}", map[string]float64{"stable": 0, "canary": 1})
		},
		"canary-weight-total": func(t *testing.T) {
			shares(t, "split: {stable: 990, canary: 10}", map[string]float64{"stable": 990, "canary": 10})
		},
		"Gateway API small sum": func(t *testing.T) {
			shares(t, "split: {stable: 2, canary: 1}", map[string]float64{"stable": 2, "canary": 1})
		},
		"Gateway API greatest weights": func(t *testing.T) {
			shares(t, "split: {stable: 1000000, canary: 500000}", map[string]float64{"stable": 2, "canary": 1})
		},
		"Gateway API three backends": func(t *testing.T) {
			shares(t, `header: "", fallback: none, split: {stable: 1, canary: 0, beta: 3}`, map[string]float64{"stable": 1, "canary": 0, "beta": 3})
		},
		"any whole number": func(t *testing.T) {
			shares(t, "split: {stable: "+big+", canary: "+big+"}", map[string]float64{"stable": 1, "canary": 1})
		},
	} {
		t.Run(name, f)
	}
}

// Backends of the Gateway API that are not called canary need no such name when
// nobody can ask for it.
func TestCanaryWeightsWithoutACanary(t *testing.T) {
	a, b, c := middlewaretest.NewCluster("a"), middlewaretest.NewCluster("b"), middlewaretest.NewCluster("c")
	middlewaretest.Run(t, middlewaretest.Env(t, a, b, c),
		`canary: {header: "", stable: a, fallback: none, arms: {a: {to: a}, b: {to: b}, c: {to: c}}, split: {a: 0, b: 0, c: 7}}`,
		cases{{Name: "drawn", Request: "GET /\nX-Canary: always", Arm: "c", ArmBy: "random", To: "c"}})
}

func TestCanaryWithoutAWeight(t *testing.T) {
	env, _ := orders(t)
	const block = "canary: {split: {stable: 0, canary: 0}, cookie: arm, sticky: client, response_header: x-arm}"
	middlewaretest.Run(t, env, block, cases{
		{Name: "nothing forces", Request: "GET /\nCookie: arm=stable", Status: 500, Reason: "no_arm", Header: header{"X-Arm": ""}},
		{
			Name: "forced", Request: "GET /\nX-Canary: always", Arm: "canary", ArmBy: "header", Subset: "canary",
			Header: header{"X-Arm": "canary", "Set-Cookie": ""},
		},
	})
	x := &gateway.Exchange{Client: clientAddr}
	got := middlewaretest.Build(t, env, block).Explain(middlewaretest.Request(t, "GET /\nX-Canary: perhaps"), x)
	if got != "x-canary: perhaps is ignored, it means no arm; answers 500: all weights of the split are 0" || x.Status != 500 || x.Cluster != nil {
		t.Errorf("%s, exchange %+v", got, x)
	}
}

// Whoever may not force an arm may not do so by cookie either.
func TestCanaryForceCookie(t *testing.T) {
	env, _ := orders(t)
	middlewaretest.Run(t, env, "canary: {force_cookie: c, allow_from: [10.0.0.0/8]}", cases{
		{Name: "I18 from a network that may not force", Request: "GET /\nCookie: c=always", Arm: "stable", ArmBy: "default", Subset: "stable", Header: header{"Vary": ""}},
		{
			Name: "I18 from one that may", Client: "10.1.2.3", Request: "GET /\nCookie: c=beta", Arm: "stable", ArmBy: "default", Subset: "stable",
		},
		{
			Name: "passed on", Client: "10.1.2.3", Request: "GET /\nCookie: a=b; c=always", Arm: "canary", ArmBy: "cookie", Subset: "canary",
			Header: header{"Vary": "Cookie"}, Sent: header{"Cookie": "a=b; c=always"},
		},
	})
	f := func(settings, request, want string) {
		t.Helper()
		got := middlewaretest.Build(t, env, "canary: {"+settings+"}").Explain(middlewaretest.Request(t, request), &gateway.Exchange{Client: clientAddr})
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f("force_cookie: c", "GET /\nCookie: c=always", "arm canary (orders, subset canary), by cookie c: always")
	f("cookie: arm, cookie_first: true, split: {stable: 1, canary: 1}", "GET /\nX-Canary: always\nCookie: arm=stable",
		"x-canary: always is ignored, the cookie comes first; arm stable (orders, subset stable), by cookie arm")
}
