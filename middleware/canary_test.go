package middleware

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// fakeCluster is an upstream with subsets and a number of healthy endpoints in each.
type fakeCluster struct {
	gateway.Cluster
	name    string
	healthy map[string]int
}

func (c *fakeCluster) Name() string               { return c.name }
func (c *fakeCluster) HasSubset(name string) bool { _, ok := c.healthy[name]; return ok }
func (c *fakeCluster) Healthy(subset string) int  { return c.healthy[subset] }
func (c *fakeCluster) set(subset string, n int)   { c.healthy[subset] = n }
func orders(subsets ...string) *fakeCluster {
	c := &fakeCluster{name: "orders", healthy: map[string]int{"": len(subsets)}}
	for _, s := range subsets {
		c.healthy[s] = 1
	}
	return c
}

func canaryEnv(to *fakeCluster, others ...*fakeCluster) Env {
	return Env{Route: "orders", To: to, Upstream: func(name string) (gateway.Cluster, bool) {
		for _, c := range append(others, to) {
			if c.name == name {
				return c, true
			}
		}
		return nil, false
	}}
}

// canaryStep builds the middleware from changes to its defaults.
func canaryStep(t *testing.T, env Env, change func(*CanaryConfig)) gateway.Step {
	t.Helper()
	c := CanaryConfig{Header: "x-canary", Stable: "stable"}
	change(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	step, err := newCanary(c, env)
	if err != nil {
		t.Fatal(err)
	}
	return step
}

// send runs one request through the step and returns its exchange and answer.
func send(step gateway.Step, change func(*http.Request, *gateway.Exchange)) (*gateway.Exchange, *http.Response) {
	x := &gateway.Exchange{Client: netip.MustParseAddr("192.0.2.7"), Scheme: "https"}
	r := httptest.NewRequest(http.MethodGet, "http://api.example.com/v1/orders/7", nil)
	if change != nil {
		change(r, x)
	}
	w := httptest.NewRecorder()
	step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, gateway.WithExchange(r, x))
	return x, w.Result()
}

func header(name string, values ...string) func(*http.Request, *gateway.Exchange) {
	return func(r *http.Request, _ *gateway.Exchange) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

func TestCanaryHeader(t *testing.T) {
	env := canaryEnv(orders("stable", "canary", "beta"))
	arms := func(c *CanaryConfig) { c.Split = map[string]int{"stable": 1, "canary": 0, "beta": 0} }
	value := func(c *CanaryConfig) { arms(c); c.HeaderValue = "on" }
	pattern := func(c *CanaryConfig) { arms(c); c.HeaderPattern = "^v2" }
	internal := func(c *CanaryConfig) { arms(c); c.AllowFrom = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	for _, tc := range []struct {
		name   string
		config func(*CanaryConfig)
		values []string
		arm    string
		by     string
	}{
		{"always", arms, []string{"always"}, "canary", "header"},
		{"never", arms, []string{"never"}, "stable", "header"},
		{"arm name", arms, []string{"beta"}, "beta", "header"},
		{"unknown value falls through", arms, []string{"Always"}, "stable", "random"},
		{"empty falls through", arms, []string{""}, "stable", "random"},
		{"given twice falls through", arms, []string{"always", "always"}, "stable", "random"},
		{"absent", arms, nil, "stable", "random"},
		{"exact value", value, []string{"on"}, "canary", "header"},
		{"always means nothing beside an exact value", value, []string{"always"}, "stable", "random"},
		{"pattern", pattern, []string{"v2.1"}, "canary", "header"},
		{"pattern does not match", pattern, []string{"always"}, "stable", "random"},
		{"I18 from a network that may not force", internal, []string{"always"}, "stable", "random"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x, _ := send(canaryStep(t, env, tc.config), header("x-canary", tc.values...))
			if x.Arm != tc.arm || x.ArmBy != tc.by || x.Subset != tc.arm {
				t.Errorf("arm %q (subset %q) by %q, want %q by %q", x.Arm, x.Subset, x.ArmBy, tc.arm, tc.by)
			}
			out := http.Header{"X-Canary": tc.values, "Accept": {"*/*"}}
			x.ApplyUpstreamHeaders(out)
			if len(out["X-Canary"]) > 0 {
				t.Error("the header goes upstream")
			}
		})
	}
	t.Run("forward", func(t *testing.T) {
		x, _ := send(canaryStep(t, env, func(c *CanaryConfig) { arms(c); c.Forward = true }), header("x-canary", "always"))
		out := http.Header{"X-Canary": {"always"}}
		if x.ApplyUpstreamHeaders(out); len(out) != 1 {
			t.Error("the header does not go upstream")
		}
	})
}

func TestCanaryCookie(t *testing.T) {
	env := canaryEnv(orders("stable", "canary"))
	half := func(c *CanaryConfig) { c.Split, c.Cookie = map[string]int{"stable": 50, "canary": 50}, "arm" }
	cookie := func(values ...string) func(*http.Request, *gateway.Exchange) {
		return func(r *http.Request, _ *gateway.Exchange) {
			for _, v := range values {
				r.AddCookie(&http.Cookie{Name: "arm", Value: v})
			}
		}
	}
	t.Run("both arms are pinned", func(t *testing.T) {
		step, seen := canaryStep(t, env, half), map[string]bool{}
		for range 64 {
			x, answer := send(step, nil)
			pin := answer.Cookies()[0]
			if pin.Value != x.Arm || !pin.Secure || !pin.HttpOnly {
				t.Fatalf("cookie %v for arm %s", pin, x.Arm)
			}
			again, answer := send(step, cookie(pin.Value))
			if again.Arm != x.Arm || again.ArmBy != "cookie" || len(answer.Cookies()) != 0 {
				t.Fatalf("with the cookie: arm %s by %s, cookies %v", again.Arm, again.ArmBy, answer.Cookies())
			}
			seen[x.Arm] = true
		}
		if len(seen) != 2 {
			t.Errorf("only %v seen in 64 draws", seen)
		}
	})
	t.Run("an arm of weight 0 lets go", func(t *testing.T) {
		step := canaryStep(t, env, func(c *CanaryConfig) { half(c); c.Split = map[string]int{"stable": 100, "canary": 0} })
		if x, _ := send(step, cookie("canary")); x.Arm != "stable" || x.ArmBy != "random" {
			t.Errorf("arm %s by %s", x.Arm, x.ArmBy)
		}
	})
	t.Run("I19 junk, repeated and huge values are ignored", func(t *testing.T) {
		step := canaryStep(t, env, half)
		for _, values := range [][]string{{"root"}, {"canary", "canary"}, {strings.Repeat("canary", 700)}} {
			if x, _ := send(step, cookie(values...)); x.ArmBy != "random" {
				t.Errorf("%.20q decided by %s", values, x.ArmBy)
			}
		}
	})
	t.Run("I19 signed", func(t *testing.T) {
		step := canaryStep(t, env, func(c *CanaryConfig) {
			half(c)
			c.AllowFrom, c.CookieSecret = []netip.Prefix{}, gateway.Secret(strings.Repeat("k", 32))
		})
		x, answer := send(step, nil)
		if again, _ := send(step, cookie(answer.Cookies()[0].Value)); again.ArmBy != "cookie" || again.Arm != x.Arm {
			t.Errorf("own cookie: arm %s by %s", again.Arm, again.ArmBy)
		}
		_, sig, _ := strings.Cut(answer.Cookies()[0].Value, "~")
		for _, forged := range []string{"canary", "stable", "canary~", "other~" + sig} {
			if x, _ := send(step, cookie(forged)); x.ArmBy != "random" {
				t.Errorf("forged %q decided by %s", forged, x.ArmBy)
			}
		}
	})
	t.Run("I18 an unsigned cookie does not get round allow_from", func(t *testing.T) {
		step := canaryStep(t, env, func(c *CanaryConfig) { half(c); c.AllowFrom = []netip.Prefix{} })
		if x, _ := send(step, cookie("canary")); x.ArmBy != "random" {
			t.Errorf("decided by %s", x.ArmBy)
		}
	})
}

func TestCanaryFallback(t *testing.T) {
	cluster := orders("stable", "canary")
	always := header("x-canary", "always")
	cluster.set("canary", 0)
	step := canaryStep(t, canaryEnv(cluster), func(*CanaryConfig) {})
	if x, _ := send(step, always); x.Arm != "stable" || x.ArmBy != "fallback" || x.Subset != "stable" {
		t.Errorf("canary empty: arm %s by %s", x.Arm, x.ArmBy)
	}
	stays := canaryStep(t, canaryEnv(cluster), func(c *CanaryConfig) { c.Fallback = "none" })
	if x, _ := send(stays, always); x.Arm != "canary" || x.ArmBy != "header" {
		t.Errorf("fallback none: arm %s by %s", x.Arm, x.ArmBy)
	}
	cluster.set("stable", 0)
	if x, _ := send(step, always); x.Arm != "canary" {
		t.Errorf("both empty: arm %s", x.Arm)
	}
	cluster.set("stable", 1)
	pinned := canaryStep(t, canaryEnv(cluster), func(c *CanaryConfig) {
		c.Cookie, c.Split = "arm", map[string]int{"stable": 0, "canary": 1}
	})
	if x, answer := send(pinned, nil); x.ArmBy != "fallback" || len(answer.Cookies()) != 0 {
		t.Errorf("a fallback is remembered: by %s, cookies %v", x.ArmBy, answer.Cookies())
	}
}

func TestCanaryOtherUpstreams(t *testing.T) {
	v1, v2 := orders(), &fakeCluster{name: "orders-v2", healthy: map[string]int{"": 1, "eu": 1}}
	v1.set("", 1)
	step := canaryStep(t, canaryEnv(v1, v2), func(c *CanaryConfig) {
		c.Arms = map[string]CanaryArm{"stable": {To: "orders"}, "canary": {To: "orders-v2"}, "eu": {To: "orders-v2", Subset: "eu"}}
		c.Split = map[string]int{"stable": 95, "canary": 5}
		c.ResponseHeader = "X-Arm"
	})
	for value, want := range map[string]string{"always": "orders-v2//canary", "never": "orders//stable", "eu": "orders-v2/eu/eu"} {
		x, answer := send(step, header("x-canary", value))
		if got := fmt.Sprintf("%s/%s/%s", x.Upstream, x.Subset, x.Arm); got != want || x.Cluster.Name() != x.Upstream {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
		if answer.Header.Get("X-Arm") != x.Arm {
			t.Errorf("X-Arm: %s", answer.Header.Get("X-Arm"))
		}
	}
}

func TestCanaryStickyKeys(t *testing.T) {
	env := canaryEnv(orders("stable", "canary"))
	for key, set := range map[string]func(*http.Request, *gateway.Exchange, int){
		"subject":       func(_ *http.Request, x *gateway.Exchange, i int) { x.Subject = fmt.Sprint("user", i) },
		"header:x-user": func(r *http.Request, _ *gateway.Exchange, i int) { r.Header.Set("X-User", fmt.Sprint("user", i)) },
		"cookie:sid": func(r *http.Request, _ *gateway.Exchange, i int) {
			r.AddCookie(&http.Cookie{Name: "sid", Value: fmt.Sprint(i)})
		},
		"client": func(_ *http.Request, x *gateway.Exchange, i int) {
			x.Client = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		},
	} {
		t.Run(key, func(t *testing.T) {
			build := func() gateway.Step {
				return canaryStep(t, env, func(c *CanaryConfig) {
					c.Split = map[string]int{"stable": 50, "canary": 50}
					if err := c.Sticky.UnmarshalText([]byte(key)); err != nil {
						t.Fatal(err)
					}
				})
			}
			one, replica, seen := build(), build(), map[string]int{}
			for i := range 40 {
				arm := ""
				for _, step := range []gateway.Step{one, replica, one} {
					x, _ := send(step, func(r *http.Request, x *gateway.Exchange) { set(r, x, i) })
					if x.ArmBy != "split" || arm != "" && x.Arm != arm {
						t.Fatalf("key %d: arm %s by %s, before %s", i, x.Arm, x.ArmBy, arm)
					}
					arm = x.Arm
				}
				seen[arm]++
			}
			if len(seen) != 2 {
				t.Errorf("shares %v", seen)
			}
			if key != "client" {
				if x, _ := send(one, nil); x.ArmBy != "random" {
					t.Errorf("without a key: by %s", x.ArmBy)
				}
			}
		})
	}
	t.Run("an IPv6 client is its /64", func(t *testing.T) {
		if clientKey(netip.MustParseAddr("2001:db8::1")) != clientKey(netip.MustParseAddr("2001:db8::ffff:2")) {
			t.Error("two addresses of a /64 differ")
		}
	})
}

func TestCanaryRefuses(t *testing.T) {
	env := canaryEnv(orders("stable", "canary", "beta"))
	for _, tc := range []struct {
		want   string
		change func(*CanaryConfig)
	}{
		{`split.canari: upstream "orders" has no arm "canari"`, func(c *CanaryConfig) { c.Split = map[string]int{"stable": 1, "canari": 1} }},
		{`arms.canary.to: unknown upstream "orders-v3"`, func(c *CanaryConfig) { c.Arms = map[string]CanaryArm{"canary": {To: "orders-v3"}} }},
		{`arms.canary.subset: upstream "orders" has no arm "eu"`, func(c *CanaryConfig) { c.Arms = map[string]CanaryArm{"canary": {Subset: "eu"}} }},
		{`which arm is the canary? Name one of beta, gamma, stable`, func(c *CanaryConfig) {
			c.Arms = map[string]CanaryArm{"beta": {}, "gamma": {}, "stable": {}}
		}},
		{`split: all weights are 0`, func(c *CanaryConfig) { c.Split = map[string]int{"stable": 0} }},
		{`split.canary: weight must be between`, func(c *CanaryConfig) { c.Split = map[string]int{"stable": 1, "canary": -1} }},
		{`header_pattern: error parsing regexp`, func(c *CanaryConfig) { c.HeaderPattern = "(" }},
		{`header_pattern: header_value and header_pattern exclude`, func(c *CanaryConfig) { c.HeaderPattern, c.HeaderValue = "a", "a" }},
		{`cookie: "a b" is no valid name`, func(c *CanaryConfig) { c.Cookie = "a b" }},
		{`cookie_secret: must have at least 32 bytes`, func(c *CanaryConfig) { c.CookieSecret = "short" }},
	} {
		c := CanaryConfig{Header: "x-canary", Stable: "stable"}
		tc.change(&c)
		err := c.Validate()
		if err == nil {
			_, err = newCanary(c, env)
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v\nwant %s", err, tc.want)
		}
	}
	for _, bad := range []string{"ip", "header:", "cookie:a b", "subject:x", ""} {
		if err := new(StickyKey).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("sticky %q is accepted", bad)
		}
	}
}

func TestCanaryExplain(t *testing.T) {
	step := canaryStep(t, canaryEnv(orders("stable", "canary")), func(c *CanaryConfig) {
		c.Split = map[string]int{"stable": 95, "canary": 5}
		c.Sticky = StickyKey{From: stickyClient}
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	x := &gateway.Exchange{Client: netip.MustParseAddr("192.0.2.7")}
	r.Header.Set("X-Canary", "always")
	if got, want := step.Explain(r, x), "arm canary (orders, subset canary), by header x-canary: always"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.Header.Del("X-Canary")
	if got, want := step.Explain(r, x), "arm stable (orders, subset stable), by split canary 5, stable 95 by client"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
