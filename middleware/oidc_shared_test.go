package middleware_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
	"github.com/pithead/pithead/test/redistest"
)

// logoutToken is what the provider tells a gateway of a logout.
func (p *fakeProvider) logoutToken(edits members) string {
	now := time.Now().Unix()
	claims := members{
		"#typ": "logout+jwt", "iss": p.URL, "aud": "shop", "iat": now, "exp": now + 60, "jti": "j1", "sid": "s1",
		"events": members{"http://schemas.openid.net/event/backchannel-logout": members{}},
	}
	maps.Copy(claims, edits)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return "POST /backchannel\nContent-Type: application/x-www-form-urlencoded\n\nlogout_token=" + p.idToken(claims)
}

// balanced are a browser's ways to several gateways, each with all that a process has. They have
// the cookies in common.
func balanced(t *testing.T, p *fakeProvider, n int, more string) (all []*oidcBrowser) {
	t.Helper()
	for range n {
		b := newBrowser(t, p, oidcLogouts+", "+more)
		if len(all) > 0 {
			b.cookies = all[0].cookies
		}
		all = append(all, b)
	}
	return all
}

func (b *oidcBrowser) wants(when, request string, status int, reason string) {
	b.t.Helper()
	a := b.copy().send(request, nil)
	got := ""
	if a.Exchange.Err != nil {
		got = a.Exchange.Err.Reason
	}
	if a.Status != status || got != reason {
		b.t.Errorf("%s: %d %s (%v), want %d %s", when, a.Status, got, a.Exchange.Err, status, reason)
	}
}

// becomes waits until a request has an answer.
func (b *oidcBrowser) becomes(request string, status int) (took time.Duration) {
	b.t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	for {
		a := b.copy().send(request, nil)
		if a.Status == status {
			return time.Since(start)
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("%s: still %d after 20 s, want %d: %v", request, a.Status, status, a.Exchange.Err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A logout at one gateway is one at all of them.
func TestOIDCSharedLogout(t *testing.T) {
	p := newFakeProvider(t)
	f := func(name, request string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			at := at(server, "")
			all := balanced(t, p, 2, at)
			one, two := all[0], all[1]
			one.resume(nil)
			two.wants("before", "GET /", 200, "")
			if a := one.copy().send(request, nil); a.Status >= 400 {
				t.Fatalf("%d %v", a.Status, a.Exchange.Err)
			}
			one.wants("where the logout was", "GET /", 401, "oidc_missing")
			t.Logf("known to the other after %s", two.becomes("GET /", 401))
			wantLine(t, two.env.Process, `pithead_oidc_logouts_total{client="shop",from="gateway",issuer="`+p.URL+`"} 1`)
			late := newBrowser(t, p, oidcLogouts+", "+at)
			late.cookies = one.cookies
			late.wants("at a gateway that has just begun", "GET /", 401, "oidc_missing")
			holdsNone(t, server, "ada", "s1", "j1", p.URL, "shop")
			two.resume(func(s *oidcSession) {
				s.id, s.login = "another", time.Now().Add(time.Minute)
			})
			two.wants("a login after it", "GET /", 200, "")
		})
	}
	f("of the session", p.logoutToken(nil))
	f("of the person", p.logoutToken(members{"sid": nil, "sub": "ada"}))
	f("in the browser", "POST /logout\nSec-Fetch-Site: same-origin")
}

// holdsNone checks that nothing in Redis has any of these texts in it.
func holdsNone(t *testing.T, server *redistest.Server, texts ...string) {
	t.Helper()
	keys, _ := server.Do("KEYS", "*").([]any)
	if len(keys) == 0 {
		t.Error("the store is empty")
	}
	for _, key := range keys {
		all := fmt.Sprint(key)
		if server.Do("TYPE", key) == "zset" {
			all += fmt.Sprint(server.Do("ZRANGE", key, 0, -1))
		} else {
			all += fmt.Sprint(server.Do("GET", key))
		}
		for _, text := range texts {
			if slices.Contains(strings.FieldsFunc(all, func(r rune) bool { return strings.ContainsRune(":[] ", r) }), text) || len(text) > 3 && strings.Contains(all, text) {
				t.Errorf("%s tells %q", all, text)
			}
		}
	}
}

// While keys are replaced, in the order that the docs say, gateways with the old and the new one in
// front understand each other.
func TestOIDCSharedLogoutKeys(t *testing.T) {
	p := newFakeProvider(t)
	server := redistest.Start(t)
	next := strings.Repeat("n", 32)
	block := func(keys string) string {
		return oidcLogouts + ", " + at(server, "") + ", cookie: {keys: [" + keys + "]}"
	}
	before, after := newBrowser(t, p, block(oidcKey+", "+next)), newBrowser(t, p, block(next+", "+oidcKey))
	f := func(told, other *oidcBrowser, sid string) {
		t.Helper()
		before.resume(func(s *oidcSession) {
			claims := ada(p)
			claims["sid"], s.id = sid, sid
			s.token = p.idToken(claims)
		})
		after.cookies = before.cookies
		other.wants("before", "GET /", 200, "")
		told.wants("logout", p.logoutToken(members{"sid": sid, "jti": sid}), 200, "")
		other.becomes("GET /", 401)
	}
	f(before, after, "told by the old key")
	f(after, before, "told by the new key")
}

// K16: what was used at one gateway cannot be used at another.
func TestOIDCSharedOnce(t *testing.T) {
	p := newFakeProvider(t)
	all := balanced(t, p, 2, at(redistest.Start(t), ""))
	one, two := all[0], all[1]
	t.Run("K16: state", func(t *testing.T) {
		back := p.login(one.toProvider(one.get("/")), nil)
		copied := two.copy()
		two.wants("the login begins at one gateway and ends at the other", "GET "+back, 302, "")
		one.cookies = copied.cookies
		one.wants("again", "GET "+back, 400, "oidc_state")
	})
	t.Run("logout token", func(t *testing.T) {
		token := p.logoutToken(nil)
		one.wants("first", token, 200, "")
		two.wants("at the other", token, 400, "oidc_logout_token")
	})
}

// Redis dies and comes back without its data.
func TestOIDCStoreAway(t *testing.T) {
	p := newFakeProvider(t)
	settings := func(server *redistest.Server, onError string) string {
		return fmt.Sprintf("store: {max_stale: 1s, redis: {address: %q, timeout: 1s}}, on_store_error: %s", server.Addr, onError)
	}
	t.Run("closed", func(t *testing.T) {
		server := redistest.Start(t)
		all := balanced(t, p, 2, settings(server, "closed"))
		one, two := all[0], all[1]
		t.Cleanup(server.Kill) // before it is looked for goroutines that are left
		callback := p.login(one.toProvider(one.get("/")), nil)
		one.resume(nil)
		server.Kill()
		one.wants("right after", "GET /", 200, "")
		t.Logf("not trusted any more after %s", one.becomes("GET /", 503))
		one.wants("later", "GET /\nAccept: text/html", 503, "oidc_store")
		a := one.copy().send("GET "+callback, nil)
		if a.Status != 503 || a.Header.Get("Retry-After") != "1" {
			t.Errorf("the end of a login: %d, Retry-After %q, %v", a.Status, a.Header.Get("Retry-After"), a.Exchange.Err)
		}
		token := p.logoutToken(nil)
		one.wants("a logout", token, 503, "oidc_store")
		nobody := one.copy()
		nobody.cookies = nil
		nobody.wants("nobody", "GET /", 401, "oidc_missing")
		one.wants("who is logged out here", "GET /", 401, "oidc_missing")
		two.becomes("GET /", 503)
		if what := one.step.Lacking(); len(what) != 1 || what[0] != "logouts of "+p.URL+" in "+server.Addr {
			t.Errorf("lacking %q", what)
		}
		server.Restart()
		two.becomes("GET /", 401)
		one.wants("the logout, sent again", token, 200, "")
		if what := one.step.Lacking(); what != nil {
			t.Errorf("lacking %q", what)
		}
		one.wants("the login, loaded again", "GET "+callback, 302, "")
	})
	t.Run("local", func(t *testing.T) {
		server := redistest.Start(t)
		all := balanced(t, p, 2, settings(server, "local"))
		one, two := all[0], all[1]
		t.Cleanup(server.Kill) // before it is looked for goroutines that are left
		callback := p.login(one.toProvider(one.get("/")), members{"sid": "s2"})
		server.Kill()
		one.copy().becomes("GET "+callback, 302)
		one.wants("the login again", "GET "+callback, 400, "oidc_state")
		one.resume(nil)
		token := p.logoutToken(nil)
		one.wants("a logout", token, 200, "")
		one.wants("the logout again", token, 400, "oidc_logout_token")
		one.wants("who is logged out here", "GET /", 401, "oidc_missing")
		two.wants("and not there", "GET /", 200, "")
		server.Restart()
		t.Logf("caught up after %s", two.becomes("GET /", 401))
	})
}

// A gateway that begins while Redis is away knows of no logout.
func TestOIDCStoreAwayAtStart(t *testing.T) {
	p := newFakeProvider(t)
	f := func(onError string, status int, reason string) {
		t.Helper()
		t.Run(onError, func(t *testing.T) {
			server := redistest.Start(t)
			server.Kill()
			env := middlewaretest.Env(t, middlewaretest.NewCluster("shop"))
			t.Cleanup(server.Kill)
			b := &oidcBrowser{t: t, p: p, env: env, cookies: make(map[string]string)}
			b.step = middlewaretest.Build(t, env, oidcBlock(p.URL, ", "+at(server, "")+", on_store_error: "+onError))
			ready := b.step.Start()
			<-ready[len(ready)-1] // the keys
			b.resume(nil)
			b.wants("without", "GET /", status, reason)
			x := &gateway.Exchange{Scheme: "https"}
			r := middlewaretest.Request(t, "GET /")
			for name, value := range b.cookies {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			if told := b.step.Explain(r, x); strings.Contains(told, "oidc_store") != (reason != "") {
				t.Errorf("explained as %q", told)
			}
			server.Restart()
			b.becomes("GET /", 200)
			<-ready[0]
		})
	}
	f("closed", 503, "oidc_store")
	f("local", 200, "")
}

func TestOIDCStoreMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("shop"))
	f := func(more string, want ...string) {
		t.Helper()
		var got []string
		for _, said := range middlewaretest.Mistakes(t, env, oidcBlock("https://id.example.com", ", "+more)) {
			_, text, _ := strings.Cut(said, ": ")
			got = append(got, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", more, diff)
		}
	}
	f("on_store_error: local", "is of no use without a store")
	f("on_store_error: open", `"open" is none of local, closed`)
	f("store: {max_stale: 5s}", `store: "redis" is required`)
	f("store: {max_stale: 100ms, redis: {address: 'a:1'}}", "must be from 1s to 24h")
	f("store: {redis: {address: a}}", `[0]: "a" is no address; write for example 10.0.0.5:6379`)
	f("store: {redis: {address: 'a:1', tls: {ca: /none.pem}}}", "stat /none.pem: no such file or directory")
}

// The session was made by a gateway whose clock is ahead of that of the one which hears of the logout.
func TestOIDCLogoutClocks(t *testing.T) {
	p := newFakeProvider(t)
	f := func(name, request string, ahead time.Duration, after int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, p, oidcLogouts)
			b.resume(func(s *oidcSession) { s.login = time.Now().Add(ahead) })
			if a := b.copy().send(request, nil); a.Status >= 400 {
				t.Fatalf("%d %v", a.Status, a.Exchange.Err)
			}
			if a := b.send("GET /", nil); a.Status != after {
				t.Errorf("%d, want %d", a.Status, after)
			}
		})
	}
	f("of the session", p.logoutToken(nil), 20*time.Second, 401)
	f("of a session before that", p.logoutToken(nil), 40*time.Second, 200)
	f("in the browser", "POST /logout\nSec-Fetch-Site: same-origin", 10*time.Minute, 401)
	f("of the person", p.logoutToken(members{"sid": nil, "sub": "ada"}), 20*time.Second, 200)
}
