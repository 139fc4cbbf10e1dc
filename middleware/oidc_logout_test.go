package middleware_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const oidcLogouts = ", logout_path: /logout, backchannel_logout_path: /backchannel, post_logout_redirect: /bye"

func TestOIDCLogout(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, oidcLogouts)
	b.login()
	for _, request := range []string{
		"POST /logout\nSec-Fetch-Site: cross-site", "POST /logout\nOrigin: https://evil.example",
		"GET /logout", "GET /logout\nSec-Fetch-Site: cross-site", "GET /logout\nSec-Fetch-Site: none",
	} {
		if a := b.send(request, nil); a.Status != http.StatusForbidden || a.Exchange.Err.Reason != "oidc_csrf" {
			t.Errorf("%s: %d %v", request, a.Status, a.Exchange.Err)
		}
	}
	if a := b.send("PUT /logout", nil); a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, POST" {
		t.Errorf("PUT: %d", a.Status)
	}
	copied := b.copy()
	if a := copied.send("GET /", nil); a.Status != http.StatusOK {
		t.Fatalf("%d", a.Status)
	}
	a := b.send("POST /logout\nSec-Fetch-Site: same-origin", nil)
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.Status != http.StatusSeeOther || u.Path != "/end" || u.Host != strings.TrimPrefix(p.URL, "http://") {
		t.Fatalf("%d to %s: %v", a.Status, u, a.Exchange.Err)
	}
	query := u.Query()
	if query.Get("post_logout_redirect_uri") != "https://api.example.com/bye" || query.Get("client_id") != "shop" || strings.Count(query.Get("id_token_hint"), ".") != 2 {
		t.Errorf("%v", query)
	}
	if len(b.cookies) != 0 {
		t.Errorf("cookies left: %v", b.cookies)
	}
	if a := copied.send("GET /", nil); a.Status != http.StatusUnauthorized {
		t.Errorf("a copy of the cookies is still good: %d", a.Status)
	}
	if a := b.send("GET /logout\nSec-Fetch-Site: same-origin", nil); a.Status != http.StatusSeeOther || a.Header.Get("Location") != "/bye" {
		t.Errorf("nobody's logout: %d to %s", a.Status, a.Header.Get("Location"))
	}
}

func TestOIDCBackchannelLogout(t *testing.T) {
	p := newFakeProvider(t)
	event := members{"http://schemas.openid.net/event/backchannel-logout": members{}}
	logout := func(edits members) string {
		now := time.Now().Unix()
		claims := members{
			"#typ": "logout+jwt", "iss": p.URL, "aud": "shop", "iat": now, "exp": now + 60, "jti": "j1", "sid": "s1", "events": event,
		}
		for name, v := range edits {
			if claims[name] = v; v == nil {
				delete(claims, name)
			}
		}
		return "POST /backchannel\nContent-Type: application/x-www-form-urlencoded\n\nlogout_token=" + p.idToken(claims)
	}
	f := func(name, request string, status, after int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, p, oidcLogouts)
			b.login()
			if a := b.copy().send(request, nil); a.Status != status {
				t.Errorf("%d %v, want %d", a.Status, a.Exchange.Err, status)
			}
			if a := b.send("GET /", nil); a.Status != after {
				t.Errorf("afterwards %d, want %d", a.Status, after)
			}
		})
	}
	f("of the session", logout(nil), 200, 401)
	f("of the person", logout(members{"sid": nil, "sub": "ada"}), 200, 401)
	f("of another session", logout(members{"sid": "s2", "sub": "ada"}), 200, 200)
	f("of another person", logout(members{"sid": nil, "sub": "eve"}), 200, 200)
	f("of nobody", logout(members{"sid": nil}), 400, 200)
	f("J11 ID token instead", logout(members{"#typ": "JWT"}), 400, 200)
	f("without a type", logout(members{"#typ": nil}), 400, 200)
	f("with a nonce", logout(members{"nonce": "n"}), 400, 200)
	f("of no event", logout(members{"events": nil}), 400, 200)
	f("of another event", logout(members{"events": members{"x": members{}}}), 400, 200)
	f("no jti", logout(members{"jti": nil}), 400, 200)
	f("old", logout(members{"iat": time.Now().Add(-time.Hour).Unix()}), 400, 200)
	f("other client", logout(members{"aud": "bank"}), 400, 200)
	f("other issuer", logout(members{"iss": "https://evil.example"}), 400, 200)
	f("no token", "POST /backchannel\nContent-Type: application/x-www-form-urlencoded\n\nx=y", 400, 200)
	f("in the query", strings.Replace(strings.Replace(logout(nil), "\n\n", "\n\nx=", 1), "/backchannel", "/backchannel?logout_token=x", 1), 400, 200)
	f("GET", "GET /backchannel", 405, 200)
	t.Run("used twice", func(t *testing.T) {
		b := newBrowser(t, p, oidcLogouts)
		for _, want := range []int{200, 400} {
			if a := b.send(logout(nil), nil); a.Status != want {
				t.Errorf("%d, want %d", a.Status, want)
			}
		}
	})
	t.Run("login after it", func(t *testing.T) {
		b := newBrowser(t, p, oidcLogouts)
		b.send(logout(members{"sid": nil, "sub": "ada"}), nil)
		b.resume(func(s *oidcSession) { s.login = time.Now().Add(time.Millisecond) })
		if a := b.send("GET /", nil); a.Status != 200 {
			t.Errorf("%d", a.Status)
		}
	})
}

func TestOIDCMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("shop"))
	f := func(issuer, more string, want ...string) {
		t.Helper()
		var got []string
		for _, said := range middlewaretest.Mistakes(t, env, oidcBlock(issuer, more)) {
			_, text, _ := strings.Cut(said, ": ")
			got = append(got, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", more, diff)
		}
	}
	good := "https://id.example.com"
	f("http://id.example.com", "", "is not https: whoever can change its answers can log in as anybody")
	f("ftp://id.example.com", "", "ftp://id.example.com is no https URL")
	f(good, ", scopes: [email]", "openid is missing, without which the provider does not say who has logged in")
	f(good, `, scopes: ["openid email"]`, "openid is missing, without which the provider does not say who has logged in",
		`"openid email" is no scope; write each one as an entry of the list`)
	f(good, ", external_url: shop.example.com", `"shop.example.com" is not scheme and host; write for example https://shop.example.com`)
	f(good, `, external_url: "https://shop.example.com/x"`, `"https://shop.example.com/x" is not scheme and host; write for example https://shop.example.com`)
	f(good, `, external_url: "http://shop.example.com"`, "is not https: whoever can listen would have the sessions")
	f(good, ", redirect_path: callback", `"callback" is no plain path; write for example /oauth2/callback`)
	f(good, ", logout_path: /oauth2/callback", "is the same as redirect_path")
	f(good, `, post_logout_redirect: "//evil.example"`, `"//evil.example" is neither a path nor an https URL`)
	f(good, `, post_logout_redirect: "javascript:alert(1)"`, `"javascript:alert(1)" is neither a path nor an https URL`)
	f(good, ", cookie: {max_age: 1h}", `has no keys; write keys: ["${file:PATH}"] with a secret of at least 32 bytes, such as `+"`openssl rand -hex 32` makes")
	f(good, ", cookie: {keys: [short]}", "has 5 bytes; it needs at least 32")
	f(good, ", cookie: {name: session, keys: ["+oidcKey+"]}", `"session" does not fit; write __Host- and up to 57 letters, digits or dashes`)
	f(good, ", cookie: {max_age: 1s, keys: ["+oidcKey+"]}", "is not from 1m to 720h0m0s")
	f(good, ", headers: {Cookie: sub}", "Cookie cannot tell of a claim: clients need it themselves")
	f(good, ", api: [v1]", `"v1" is no plain path; write for example /api/`)
}

func TestOIDCPathsOfTheRoute(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("shop"))
	block := oidcBlock("https://id.example.com", ", logout_path: /shop/logout")
	f := func(match middleware.Match, key string, want ...string) {
		t.Helper()
		env.Match, env.Key = match, key
		var got []string
		if len(want) == 0 {
			middlewaretest.Build(t, env, block)
			return
		}
		for _, said := range middlewaretest.Mistakes(t, env, block) {
			_, text, _ := strings.Cut(said, ": ")
			got = append(got, strings.Fields(text)[0])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", match, diff)
		}
	}
	alone := "route/test/oidc/0"
	f(middleware.Match{Prefix: "/"}, alone)
	f(middleware.Match{Prefix: "/shop"}, alone, "redirect_path:")
	f(middleware.Match{Prefix: "/sho"}, alone, "redirect_path:", "/shop/logout")
	f(middleware.Match{Path: "/shop/logout"}, alone, "redirect_path:")
	f(middleware.Match{Path: "/{any}"}, alone)
	f(middleware.Match{Prefix: "/shop"}, "middleware/login")
}

func TestOIDCExplain(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, oidcLogouts)
	f := func(request, want string, status int) {
		t.Helper()
		r, x := middlewaretest.Request(t, request), &gateway.Exchange{Scheme: "https"}
		for name, value := range b.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		if got := b.step.Explain(r, x); !strings.Contains(got, want) || x.Status != status {
			t.Errorf("%s: %q and %d", request, got, x.Status)
		}
	}
	f("GET /", "answers 401 (oidc_missing)", 401)
	f("GET /\nAccept: text/html", "leads to the login at "+p.URL, 302)
	f("GET /oauth2/callback", "is the callback of logins", 302)
	b.resume(nil)
	f("GET /", `the caller is "ada", logged in until 2`, 0)
	f("POST /\nSec-Fetch-Site: cross-site", "answers 403 (oidc_csrf)", 403)
}
