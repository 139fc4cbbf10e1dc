package middleware_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

var clientAddr = netip.MustParseAddr("192.0.2.7")

// The same value draws the same arm, from every process that was built from the
// same settings; another value may draw another one.
func TestCanarySticky(t *testing.T) {
	env, _ := orders(t)
	for _, tc := range []struct {
		name, key string
		set       func(r *http.Request, x *gateway.Exchange, i int)
	}{
		{"subject", "subject", func(_ *http.Request, x *gateway.Exchange, i int) { x.Subject = fmt.Sprint("user", i) }},
		{"header", "header:x-user", func(r *http.Request, _ *gateway.Exchange, i int) { r.Header.Set("X-User", fmt.Sprint("user", i)) }},
		{"cookie", "cookie:sid", func(r *http.Request, _ *gateway.Exchange, i int) {
			r.Header.Set("Cookie", fmt.Sprintf("a=b; sid=%d", i))
		}},
		{"IPv4 client", "client", func(_ *http.Request, x *gateway.Exchange, i int) {
			x.Client = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		}},
		{"IPv6 client is its /64", "client", func(_ *http.Request, x *gateway.Exchange, i int) {
			x.Client = netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 7: byte(i), 15: byte(len(x.ID))})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			block := fmt.Sprintf("canary: {split: {stable: 50, canary: 50}, sticky: %s}", tc.key)
			one, replica, seen := middlewaretest.Build(t, env, block), middlewaretest.Build(t, env, block), map[string]int{}
			for i := range 40 {
				arm := ""
				for n, step := range []gateway.Step{one, replica, one} {
					r, x := middlewaretest.Request(t, "GET /"), &gateway.Exchange{ID: "test"[n:]}
					tc.set(r, x, i)
					middlewaretest.Send(t, env, step, r, x)
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
			if a := send(t, env, one, "GET /", &gateway.Exchange{}); a.Exchange.ArmBy != "random" {
				t.Errorf("without a value: by %s", a.Exchange.ArmBy)
			}
		})
	}
}

// Of two values nobody knows which one the upstream believes.
func TestCanaryStickyValueGivenTwice(t *testing.T) {
	env, _ := orders(t)
	f := func(key, request string) {
		t.Helper()
		middlewaretest.Run(t, env, fmt.Sprintf("canary: {split: {stable: 1, canary: 0}, sticky: %q}", key), cases{
			{Name: key, Request: request, Arm: "stable", ArmBy: "random", Subset: "stable"},
		})
	}
	f("header:x-user", "GET /\nX-User: ann\nX-User: bob")
	f("cookie:sid", "GET /\nCookie: sid=1; sid=2")
}

// An arm that only a header reaches, or that only takes over, changes nobody's draw.
func TestCanaryStickyArmsOutsideTheSplit(t *testing.T) {
	env, _ := orders(t)
	const split = "split: {stable: 50, canary: 50}, sticky: subject"
	before := middlewaretest.Build(t, env, "canary: {"+split+"}")
	after := middlewaretest.Build(t, env, "canary: {"+split+", fallback: beta}")
	for i := range 200 {
		x := &gateway.Exchange{Subject: fmt.Sprint("user", i)}
		arm := send(t, env, before, "GET /", x).Exchange.Arm
		if now := send(t, env, after, "GET /", x).Exchange.Arm; now != arm {
			t.Fatalf("%s moves from %s to %s", x.Subject, arm, now)
		}
	}
}
