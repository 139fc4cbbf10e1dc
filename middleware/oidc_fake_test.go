package middleware_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const oidcKey = "0123456789abcdef0123456789abcdef"

// fakeProvider is an OpenID provider that does as it is told.
type fakeProvider struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	keys     string // the key set
	codes    map[string]oidcGrant
	refresh  map[string]members // claims by the refresh tokens that are good
	expires  int                // of access tokens in seconds
	renewals int                // refresh tokens that were used
	failing  int                // status of the token endpoint, unless 0
	with     bool               // refresh tokens are given
	count    int
	change   func(answer members)
}

type oidcGrant struct {
	challenge, redirect string
	claims              members
}

func newFakeProvider(t *testing.T) *fakeProvider {
	p := &fakeProvider{t: t, keys: keySet(), codes: make(map[string]oidcGrant), refresh: make(map[string]members), expires: 300}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(members{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"end_session_endpoint": p.URL + "/end",
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = w.Write([]byte(p.keys))
	})
	mux.HandleFunc("POST /token", p.token)
	return p
}

// login has ada log in at the address where her browser was sent, and is where it is sent
// back to. Edits change the claims of her ID token, and its header under #.
func (p *fakeProvider) login(to *url.URL, edits members) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	query := to.Query()
	now := time.Now().Unix()
	claims := members{
		"iss": p.URL, "aud": "shop", "sub": "ada", "sid": "s1", "nonce": query.Get("nonce"), "iat": now, "exp": now + 300, "email": "ada@example.com",
	}
	maps.Copy(claims, edits)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	p.count++
	code := fmt.Sprintf("code-%d", p.count)
	p.codes[code] = oidcGrant{query.Get("code_challenge"), query.Get("redirect_uri"), claims}
	return "/oauth2/callback?" + url.Values{"code": {code}, "state": {query.Get("state")}}.Encode()
}

func (p *fakeProvider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	var claims members
	switch g, ok := p.codes[r.PostFormValue("code")]; {
	case p.failing != 0:
		w.WriteHeader(p.failing)
		return
	case id != "shop" || secret != "hush":
		w.WriteHeader(http.StatusUnauthorized)
		return
	case r.PostFormValue("grant_type") == "refresh_token":
		claims = p.refresh[r.PostFormValue("refresh_token")]
		delete(p.refresh, r.PostFormValue("refresh_token"))
		p.renewals++
	case ok && g.redirect == r.PostFormValue("redirect_uri") && g.challenge == base64.RawURLEncoding.EncodeToString(sum[:]):
		claims = g.claims
		delete(p.codes, r.PostFormValue("code"))
	}
	w.Header().Set("Content-Type", "application/json")
	if claims == nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	answer := members{"access_token": "a", "token_type": "Bearer", "expires_in": p.expires, "id_token": p.idToken(claims)}
	if p.with {
		p.count++
		token := fmt.Sprintf("refresh-%d", p.count)
		p.refresh[token] = claims
		answer["refresh_token"] = token
	}
	if p.change != nil {
		p.change(answer)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (p *fakeProvider) idToken(claims members) string {
	head := members{"alg": "RS256", "kid": "rsa"}
	body := members{}
	for name, v := range claims {
		if rest, ok := strings.CutPrefix(name, "#"); ok {
			head[rest] = v
		} else {
			body[name] = v
		}
	}
	return tokenWith(p.t, head, body, "rsa")
}

// oidcBrowser remembers cookies as browsers do.
type oidcBrowser struct {
	t       *testing.T
	env     middleware.Env
	step    gateway.Step
	p       *fakeProvider
	cookies map[string]string
	set     []string // all that it was told of cookies
}

// newBrowser is a browser in front of the middleware, with more settings.
func newBrowser(t *testing.T, p *fakeProvider, more string) *oidcBrowser {
	t.Helper()
	env := middlewaretest.Env(t, middlewaretest.NewCluster("shop"))
	return newBrowserIn(t, p, env, more)
}

func newBrowserIn(t *testing.T, p *fakeProvider, env middleware.Env, more string) *oidcBrowser {
	t.Helper()
	b := &oidcBrowser{t: t, p: p, env: env, cookies: make(map[string]string)}
	b.step = middlewaretest.Build(t, b.env, oidcBlock(p.URL, more))
	for _, ready := range b.step.Start() {
		<-ready
	}
	return b
}

func oidcBlock(issuer, more string) string {
	if !strings.Contains(more, "cookie:") {
		more += `, cookie: {keys: ["` + oidcKey + `"]}`
	}
	return "oidc: {issuer: \"" + issuer + "\", client_id: shop, client_secret: hush" + more + "}"
}

// copy is another browser that somebody has copied the cookies to.
func (b *oidcBrowser) copy() *oidcBrowser {
	c := *b
	c.cookies = maps.Clone(b.cookies)
	return &c
}

func (b *oidcBrowser) get(target string) middlewaretest.Answer {
	b.t.Helper()
	return b.send("GET "+target+"\nAccept: text/html", nil)
}

// send sends a request with the cookies of the browser, and does as the answer says of them.
func (b *oidcBrowser) send(request string, change func(*http.Request, *gateway.Exchange)) middlewaretest.Answer {
	b.t.Helper()
	r, x := middlewaretest.Request(b.t, request), &gateway.Exchange{}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if change != nil {
		change(r, x)
	}
	a := middlewaretest.Send(b.t, b.env, b.step, r, x)
	for _, line := range a.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			b.t.Fatal(err)
		}
		b.set = append(b.set, line)
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return a
}

// toProvider is where an answer sends the browser, which must be the provider.
func (b *oidcBrowser) toProvider(a middlewaretest.Answer) *url.URL {
	b.t.Helper()
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.Status != http.StatusFound || !strings.HasPrefix(u.String(), b.p.URL+"/auth?") {
		b.t.Fatalf("%d to %q, %v: not to the provider", a.Status, u, a.Exchange.Err)
	}
	return u
}

func (b *oidcBrowser) login() {
	b.t.Helper()
	a := b.get(b.p.login(b.toProvider(b.get("/")), nil))
	if a.Status != http.StatusFound || a.Header.Get("Location") != "/" {
		b.t.Fatalf("%d: %v", a.Status, a.Exchange.Err)
	}
}
