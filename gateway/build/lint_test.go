package build

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

const (
	lintToken = `jwt: {issuer: issuer.example, audience: orders, secret: "a secret of at least 32 bytes, for HS256"`
	lintHead  = `listeners: {web: {address: "127.0.0.1:1"}}
upstreams:
  app: {discover: {static: {targets: ["127.0.0.1:9000"]}}}
  keyed: {discover: {static: {targets: ["127.0.0.1:9000"]}}, balance: {consistent_hash: {key: subject}}}
middleware:
  who: {` + lintToken + `, headers: {X-User: sub}}}
  perhaps: {` + lintToken + `, optional: true}}
  rules: {authorize: {rules: [{name: ada, allow: "subject == 'ada'"}]}}
`
)

func lintOf(t *testing.T, text string) (all []string) {
	t.Helper()
	p := newProcess(t)
	for _, f := range p.compile(text).Lint() {
		all = append(all, fmt.Sprintf("%d:%d %s: %s", f.Line, f.Column, f.Rule, f.Msg))
	}
	return all
}

func TestLint(t *testing.T) {
	f := func(name, route string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, lintOf(t, lintHead+"routes:\n  - {name: r, match: {prefix: /}, "+route+"}\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	const bare = "10:5 no_auth: route r has no authentication; put what proves the caller into `use`, or write public: true"
	f("nothing", "to: app", bare)
	f("public", "to: app, public: true")
	f("proven", "to: app, use: [who]")
	f("proven for some", "to: app, use: [perhaps]",
		"10:5 optional_auth: route r also lets requests without a proof pass: perhaps (optional); take out optional, add authorize, or write public: true")
	f("proven for some, on purpose", "to: app, use: [perhaps], public: true")
	f("proven for some, and rules for all", "to: app, use: [perhaps, rules]")
	f("proven for some, and one for all", "to: app, use: [perhaps, who]")
	f("a service vouches", "to: app, use: [forward_auth: {to: app, request_headers: [Cookie]}]")
	f("proven when everything has been answered", "use: [{respond: {body: x}}, who]", bare,
		"10:63 unreached: who is never reached: respond before it answers every request")
	f("the subject of nobody", "to: keyed", bare, `10:39 subject_unproven: upstream "keyed" balances by the subject of the caller, which nothing in `+"`use` proves")
	f("the subject of somebody", "to: keyed, use: [who]")
	if diff := cmp.Diff([]string{
		"10:26 stripped_header: X-User is taken out of every request before routes are matched, because a middleware sets it; decide by it with authorize",
	}, lintOf(t, lintHead+"routes:\n  - {match: {prefix: /a, headers: {x-user: ada}}, to: app, use: [who]}\n  - {match: {prefix: /b, headers: {x-user: {absent: true}}}, to: app, use: [who]}\n")); diff != "" {
		t.Errorf("a header that nobody may send (-want +got):\n%s", diff)
	}
}

func TestLintListeners(t *testing.T) {
	f := func(listener, more, use string, want bool) {
		t.Helper()
		text := strings.Replace(lintHead, `{address: "127.0.0.1:1"}`, listener, 1) + more + "routes: [{match: {prefix: /}, to: app, public: true, use: [" + use + "]}]\n"
		got := slices.ContainsFunc(lintOf(t, text), func(f string) bool { return strings.Contains(f, "clear_credentials: listener web has no TLS") })
		if got != want {
			t.Errorf("%s %s %s: %t, want %t", listener, more, use, got, want)
		}
	}
	f(`{address: ":1"}`, "", "perhaps", true)
	f(`{addresses: ["127.0.0.1:1", "10.0.0.1:1"]}`, "", "perhaps", true)
	f(`{address: ":1"}`, "", "", false)
	f(`{address: "[::1]:1"}`, "", "perhaps", false)
	f(`{address: "localhost:1"}`, "", "perhaps", false)
	f(`{address: "unix:/tmp/web.sock"}`, "", "perhaps", false)
	f(`{address: ":1"}`, "trusted_proxies: [10.0.0.0/8]\n", "perhaps", false)
	f(`{address: ":1", proxy_protocol: {from: [10.0.0.0/8]}}`, "", "perhaps", false)
}

// A route that says two things of itself is a mistake, and so is a need before its proof.
func TestPublicAndOrderMistakes(t *testing.T) {
	f := func(route, want string) {
		t.Helper()
		p := newProcess(t)
		snap, err := Compile(p.parse(lintHead+"routes:\n  - {match: {prefix: /}, to: app, "+route+"}\n"), p.Env)
		if err == nil {
			p.close(snap)
			t.Fatalf("%s is accepted", route)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", route, err, want)
		}
	}
	f("use: [who], public: true", ":10:55: the route is public, but who lets nobody pass without a proof; take out one of them")
	f("use: [{rate_limit: {rate: 1/s, key: subject}}, who]", "needs a proven subject, and nothing before it in `use` proves one")
}

func TestAuth(t *testing.T) {
	snap := newProcess(t).compile(lintHead + "routes:\n  - {match: {prefix: /}, to: app, use: [perhaps, cors: {allow_origins: [\"https://a.example\"]}, who]}\n  - {match: {prefix: /b}, to: app}\n")
	if got := snap.Auth(snap.Config.Routes[0]); !slices.Equal(got, []string{"perhaps (optional)", "who"}) {
		t.Errorf("%q", got)
	}
	if got := snap.Auth(snap.Config.Routes[1]); got != nil {
		t.Errorf("%q", got)
	}
}

// K05: what steps lack holds a process that has just started back for a while, and
// nothing after that.
func TestLacking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		snap, err := Compile(p.parse(oneUpstream+"routes: [{match: {prefix: /}, to: a}, {match: {prefix: /b}, to: a}]\n"), p.Env)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close(snap)
		keys := errors.New("none")
		lacking := gateway.Step{Lacking: func() []string {
			if keys != nil {
				return []string{"keys of https://id.example"}
			}
			return nil
		}}
		for _, r := range snap.routes {
			r.steps = append(r.steps, namedStep{lacking, "who"})
		}
		snap.Start()
		want := func(when string, n int, wantWait bool) {
			t.Helper()
			if what, wait := snap.Lacking(); len(what) != n || wait != wantWait {
				t.Errorf("%s: lacking %q, wait %t", when, what, wait)
			}
		}
		want("at the start", 1, true)
		<-time.After(lackingWait - 1)
		want("just before", 1, true)
		<-time.After(1)
		want("long enough", 1, false)
		keys = nil
		want("with keys", 0, false)
		snap.ready.Store(true)
		again := *snap
		again.patience = time.Time{}
		again.Start()
		keys = errors.New("gone")
		if what, wait := again.Lacking(); len(what) != 1 || wait {
			t.Errorf("after a reload: %q %t", what, wait)
		}
	})
}
