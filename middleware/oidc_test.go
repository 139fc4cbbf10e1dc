package middleware_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestOIDCLogin(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, `, scopes: [openid, email], headers: {X-Email: email}, cookie: {keys: ["`+oidcKey+`"]}`)
	a := b.get("/orders?id=7&x=%2F")
	to := b.toProvider(a)
	query := to.Query()
	for name, want := range map[string]string{
		"client_id": "shop", "response_type": "code", "scope": "openid email", "code_challenge_method": "S256",
		"redirect_uri": "https://api.example.com/oauth2/callback",
	} {
		if query.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, query.Get(name), want)
		}
	}
	if len(query.Get("state")) < 22 || len(query.Get("nonce")) < 22 || query.Get("state") == query.Get("nonce") {
		t.Errorf("state %q, nonce %q", query.Get("state"), query.Get("nonce"))
	}
	a = b.get(p.login(to, nil))
	if a.Status != http.StatusFound || a.Header.Get("Location") != "/orders?id=7&x=%2F" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d to %q: %v", a.Status, a.Header.Get("Location"), a.Exchange.Err)
	}
	if b.cookies["__Host-pithead"] == "" || len(b.cookies) != 1 {
		t.Errorf("after the login the browser has %d cookies", len(b.cookies))
	}
	b.cookies["basket"] = "3"
	a = b.get("/orders")
	if a.Status != http.StatusOK || a.Exchange.Subject != "ada" || a.Exchange.Claims["email"] != "ada@example.com" {
		t.Fatalf("%d as %q with %v", a.Status, a.Exchange.Subject, a.Exchange.Claims)
	}
	if got := a.Sent.Header.Get("Cookie"); got != "basket=3" {
		t.Errorf("the upstream got the cookies %q", got)
	}
	if got := a.Sent.Header.Get("X-Email"); got != "ada@example.com" {
		t.Errorf("the upstream got %q", got)
	}
}

func TestOIDCCookiesAreKeptFromScriptsAndSites(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	b.login()
	for _, line := range b.set {
		for _, want := range []string{"; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age="} {
			if !strings.Contains(line, want) {
				t.Errorf("%s has no %s", line, want)
			}
		}
		if !strings.HasPrefix(line, "__Host-pithead") || strings.Contains(line, "Domain") || len(line) > 4096 {
			t.Errorf("%s", line)
		}
	}
	if len(b.set) < 3 { // begun, session, forgotten
		t.Errorf("the browser was told of %d cookies", len(b.set))
	}
}

func TestOIDCWhoIsSentToTheProvider(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, `, api: [/v1/]`)
	f := func(name, request string, want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			a := b.send(request, nil)
			if a.Status != want || a.Sent != nil {
				t.Errorf("status %d, sent %v", a.Status, a.Sent)
			}
			if want == http.StatusUnauthorized && (a.Header.Get("WWW-Authenticate") == "" || a.Exchange.Err.Reason != "oidc_missing" || len(a.Header["Set-Cookie"]) > 0) {
				t.Errorf("%v: %v", a.Exchange.Err, a.Header)
			}
		})
	}
	f("page", "GET /\nAccept: text/html,*/*;q=0.8", 302)
	f("navigation", "GET /\nAccept: text/html\nSec-Fetch-Mode: navigate", 302)
	f("fetch", "GET /\nAccept: text/html\nSec-Fetch-Mode: cors", 401)
	f("script of old", "GET /\nAccept: text/html\nX-Requested-With: XMLHttpRequest", 401)
	f("API client", "GET /\nAccept: */*", 401)
	f("nothing accepted", "GET /", 401)
	f("HEAD", "HEAD /\nAccept: text/html", 401)
	f("POST", "POST /\nAccept: text/html\n\nx", 401)
	f("WebSocket", "GET /\nAccept: text/html\nUpgrade: websocket\nConnection: Upgrade", 401)
	f("API path", "GET /v1/orders\nAccept: text/html", 401)
}

func TestOIDCCallbackRefusesWhatIsNotItsLogin(t *testing.T) {
	p := newFakeProvider(t)
	f := func(name, reason string, play func(t *testing.T, b *oidcBrowser) middlewaretest.Answer) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, p, "")
			a := play(t, b)
			if a.Exchange.Err == nil || a.Exchange.Err.Reason != reason {
				t.Errorf("%d, %v, want %s", a.Status, a.Exchange.Err, reason)
			}
			if b.cookies["__Host-pithead"] != "" {
				t.Error("there is a session")
			}
		})
	}
	tokenWith := func(edit members) func(*testing.T, *oidcBrowser) middlewaretest.Answer {
		return func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
			return b.get(p.login(b.toProvider(b.get("/")), edit))
		}
	}
	f("K16 state of nobody", "oidc_state", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
		return b.get("/oauth2/callback?code=x&state=made-up")
	})
	f("K16 state of another browser", "oidc_state", func(t *testing.T, b *oidcBrowser) middlewaretest.Answer {
		other := newBrowser(t, p, "")
		return b.get(p.login(other.toProvider(other.get("/")), nil))
	})
	f("K16 state of another login in this slot", "oidc_state", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
		back, _ := url.Parse(p.login(b.toProvider(b.get("/")), nil))
		query := back.Query()
		query.Set("state", query.Get("state")[:1]+"AAAAAAAAAAAAAAAAAAAAAAAAA")
		return b.get("/oauth2/callback?" + query.Encode())
	})
	f("two states", "oidc_state", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
		return b.get(p.login(b.toProvider(b.get("/")), nil) + "&state=x")
	})
	f("begun at another host", "oidc_state", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
		return b.get("https://other.example.com" + p.login(b.toProvider(b.get("/")), nil))
	})
	f("wrong nonce", "oidc_token", tokenWith(members{"nonce": "another"}))
	f("no nonce", "oidc_token", tokenWith(members{"nonce": nil}))
	f("other client", "oidc_token", tokenWith(members{"aud": "bank"}))
	f("several clients, made for another", "oidc_token", tokenWith(members{"aud": []string{"shop", "bank"}, "azp": "bank"}))
	f("several clients, nobody above all", "oidc_token", tokenWith(members{"aud": []string{"shop", "bank"}}))
	f("made for another", "oidc_token", tokenWith(members{"azp": "bank"}))
	f("other issuer", "oidc_token", tokenWith(members{"iss": "https://evil.example"}))
	f("expired", "oidc_token", tokenWith(members{"exp": time.Now().Add(-time.Minute).Unix()}))
	f("no expiry", "oidc_token", tokenWith(members{"exp": nil}))
	f("of the future", "oidc_token", tokenWith(members{"iat": time.Now().Add(time.Hour).Unix()}))
	f("nobody", "oidc_token", tokenWith(members{"sub": nil}))
	f("J11 logout token instead", "oidc_token", tokenWith(members{"#typ": "logout+jwt"}))
	f("J11 access token instead", "oidc_token", tokenWith(members{"#typ": "at+jwt"}))
	f("unsigned", "oidc_token", tokenWith(members{"#alg": "none"}))
	f("too large", "oidc_token", tokenWith(members{"fat": strings.Repeat("x", 9000)}))
	f("mix-up", "oidc_token", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
		return b.get(p.login(b.toProvider(b.get("/")), nil) + "&iss=https%3A%2F%2Fevil.example")
	})
	f("provider says no", "oidc_refused", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
		return b.get("/oauth2/callback?error=access_denied&state=" + b.toProvider(b.get("/")).Query().Get("state"))
	})
	f("code of nobody", "oidc_code", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer {
		return b.get("/oauth2/callback?code=stolen&state=" + b.toProvider(b.get("/")).Query().Get("state"))
	})
	f("POST", "oidc_method", func(_ *testing.T, b *oidcBrowser) middlewaretest.Answer { return b.send("POST /oauth2/callback", nil) })
}

// A login is completed once, even by somebody who has a copy of the cookies and a new code.
func TestOIDCStateIsUsedOnce(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	to := b.toProvider(b.get("/"))
	copied := b.copy()
	if a := b.get(p.login(to, nil)); a.Status != http.StatusFound {
		t.Fatalf("%d %v", a.Status, a.Exchange.Err)
	}
	if a := copied.get(p.login(to, nil)); a.Exchange.Err == nil || a.Exchange.Err.Reason != "oidc_state" {
		t.Errorf("used again: %d %v", a.Status, a.Exchange.Err)
	}
}

func TestOIDCReturnsToThisSiteAlone(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	f := func(request string, change func(*url.URL), want string) {
		t.Helper()
		b.cookies = map[string]string{}
		a := b.send("GET "+request+"\nAccept: text/html", func(r *http.Request, _ *gateway.Exchange) { change(r.URL) })
		a = b.get(p.login(b.toProvider(a), nil))
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("%s leads to %q, want %q", request, got, want)
		}
	}
	as := func(path string) func(*url.URL) { return func(u *url.URL) { u.Path, u.RawPath = path, path } }
	f("/a/b?c=d", func(*url.URL) {}, "/a/b?c=d")
	f("/", as("//evil.example/x"), "/")
	f("/", as(`/\evil.example`), "/%5Cevil.example")
	f("/", func(u *url.URL) { u.Opaque = "//evil.example" }, "/")
	f("/?"+strings.Repeat("x", 3000), func(*url.URL) {}, "/")
	f("/?rd=https://evil.example", func(*url.URL) {}, "/?rd=https://evil.example")
}
