package middleware_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestCanaryMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(settings string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "canary:\n  "+settings+"\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", settings, diff)
		}
	}
	f("split: {stable: 1, canari: 1}", `2:30: upstream "orders" has no arm "canari"; define it under upstreams.orders.arms, or here under arms`)
	f("arms: {canary: {to: orders-v3}}", `2:23: unknown upstream "orders-v3"`)
	f("arms: {canary: {subset: eu}}", `2:27: upstream "orders" has no arm "eu"; define it under upstreams.orders.arms, or here under arms`)
	f("fallback: stabel", `2:13: upstream "orders" has no arm "stabel"; define it under upstreams.orders.arms, or here under arms`)
	f("{stable: v1, canary: v2}",
		`2:12: upstream "orders" has no arm "v1"; define it under upstreams.orders.arms, or here under arms`,
		`2:24: upstream "orders" has no arm "v2"; define it under upstreams.orders.arms, or here under arms`)
	f("arms: {beta: {}, gamma: {}, stable: {}}", `1:1: which arm is the canary? Name one of beta, gamma in "canary"`)
	f("split: {stable: 1}", `1:1: there is no arm beside "stable"; name the canary in "split", "arms" or "canary"`)
	f("canary: stable", `2:11: the canary arm is the stable arm`)
	f("split: {canary: 5}", `2:3: gives the stable arm no weight; write for example {stable: 95, canary: 5}, or stable: 0 if it is to get nothing`)
	f("split: {stable: 1, canary: -1}", `2:30: weight must not be negative`)
	f("{force_cookie: a b}", `2:18: "a b" is no valid name`)
	f("{force_cookie: arm, cookie: arm, split: {stable: 1, canary: 1}}", `2:18: is the cookie that the gateway sets; give one of them another name`)
	f("{cookie_first: true}", `2:18: is of no use without a cookie`)
	f("{arms: {canary: {subset: canary, headers: {}}}}", `2:36: changes nothing; give set, add or remove under request or response`)
	f("{arms: {canary: {subset: canary, headers: {request: {set: {host: a}}}}}}", `2:68: Host is no header that can be changed here; use rewrite: {host: ...}`)
	f("split: {stable: 1, always: 1}", `2:30: an arm cannot be called always`)
	f("split: {stable: 1, never: 1}", `2:29: an arm cannot be called never`)
	f("arms: {none: {}}", `2:10: an arm cannot be called none`)
	f(`split: {stable: 1, "a b": 1}`, `2:29: "a b" is no valid name of an arm`)
	f(`{header_pattern: "("}`, "2:20: error parsing regexp: missing closing ): `(`")
	f("{header_pattern: a, header_value: a}", `2:20: header_value and header_pattern exclude each other`)
	f("header: x canary", `2:11: "x canary" is no valid name`)
	f("header: host", `2:11: the header Host cannot be read here: it is not passed on from outside`)
	f("{cookie: a b, split: {stable: 1, canary: 1}}", `2:12: "a b" is no valid name`)
	f("response_header: a b", `2:20: "a b" is no valid name`)
	f("{cookie: a, cookie_secret: short, split: {stable: 1, canary: 1}}", `2:30: must have at least 32 bytes`)
	f("{cookie: a, cookie_secret: 0123456789abcdef0123456789abcde, split: {stable: 1, canary: 1}}", `2:30: must have at least 32 bytes`)
	f("cookie_secret: 0123456789abcdef0123456789abcdef", `2:18: is of no use without a cookie`)
	f("sticky: ip", `2:11: "ip" is nothing to be sticky by; write subject, client, header:NAME or cookie:NAME`)
	f(`sticky: "header:"`, `2:11: "header:" names no header; write for example header:x-user`)
	f(`sticky: "cookie:a b"`, `2:11: "cookie:a b" names no cookie; write for example cookie:x-user`)
	f(`sticky: "subject:x"`, `2:11: "subject:x" takes no name; write subject`)
	f(`sticky: ""`, `2:11: "" is nothing to be sticky by; write subject, client, header:NAME or cookie:NAME`)
	f("{sticky: header:x-real-ip, split: {stable: 1, canary: 1}}", `2:12: the header X-Real-Ip cannot be read here: it is not passed on from outside`)
	f("{header: a b, cookie: c d, split: {stable: -1}}", // all at once
		`2:12: "a b" is no valid name`, `2:25: "c d" is no valid name`, `2:46: weight must not be negative`)
}

// What would do nothing is refused: whoever wrote it believes that it does.
func TestCanarySettingsOfNoUse(t *testing.T) {
	env, _ := orders(t)
	f := func(settings string, want ...string) {
		t.Helper()
		t.Run(settings, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "canary:\n  {"+settings+"}\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	const (
		header   = "is of no use without a header"
		either   = "is of no use without a header or a force_cookie"
		split    = "is of no use without a split"
		noChoice = "without a header or a split nothing sends a request to the canary; give one of them"
		shares   = "split: {stable: 1, canary: 1}"
	)
	f(`cookie: a`, `2:12: `+split)
	f(`cookie: a, cookie_secret: 0123456789abcdef0123456789abcdef`, `2:12: `+split)
	f(`sticky: client`, `2:12: `+split)
	f(`salt: a`, `2:10: `+split)
	f(`split: {}, sticky: "header:x-user", cookie: a, salt: a`, `2:23: `+split, `2:48: `+split, `2:57: `+split)
	f(`header: ""`, `2:12: `+noChoice)
	f(`header: "", sticky: client`, `2:12: `+noChoice, `2:24: `+split)
	f(`header_value: a, header: "", `+shares, `2:18: `+header)
	f(`header_pattern: a, header: "", `+shares, `2:20: `+header)
	f(`forward: true, header: "", `+shares, `2:13: `+header)
	f(`allow_from: [10.0.0.0/8], header: "", `+shares, `2:4: `+either)
	f(`allow_from: [], header: "", `+shares, `2:4: `+either)
	f(`allow_from: [], header: "", cookie: a, cookie_secret: 0123456789abcdef0123456789abcdef, `+shares, `2:4: `+either)
	for _, used := range []string{
		`header: "", ` + shares,
		`header: "", forward: false, ` + shares,
		`header: "", cookie: a, salt: a, sticky: client, ` + shares,
		`forward: true, allow_from: []`,
	} {
		t.Run(used, func(t *testing.T) { middlewaretest.Build(t, env, "canary: {"+used+"}") })
	}
}

// Headers that only trusted peers may send, and odd names that the operator
// keeps, can decide.
func TestCanaryHeadersThatCanBeRead(t *testing.T) {
	env, _ := orders(t)
	for _, name := range []string{"x-user", "authorization", "x-forwarded-for", "x-forwarded-host", "x_user", "user-agent", "x-request-id"} {
		middlewaretest.Build(t, env, `canary: {header: x-canary, split: {stable: 1, canary: 1}, sticky: "header:`+name+`"}`)
	}
}

func TestCanaryWithoutUpstream(t *testing.T) {
	env, _ := orders(t)
	env.To = nil
	want := []string{"1:1: canary needs a route with an upstream (`to:`)"}
	if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "canary: {}")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
