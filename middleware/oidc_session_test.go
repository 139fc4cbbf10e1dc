package middleware_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/sealed"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// oidcSession is a session as it is written before it is sealed.
type oidcSession struct {
	login, until, renew time.Time
	id, token, refresh  string
}

func (s oidcSession) encode() []byte {
	out := []byte{1}
	for _, t := range []time.Time{s.login, s.until, s.renew} {
		out = binary.BigEndian.AppendUint64(out, uint64(max(0, t.UnixMilli())))
	}
	for _, text := range []string{s.id, s.token, s.refresh} {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(text))), text...)
	}
	return out
}

func oidcRing(t testing.TB, key, issuer, client, block string) *sealed.Keyring {
	t.Helper()
	k, err := sealed.NewKeyring([]string{key}, fmt.Sprintf("oidc session %q %q %q", issuer, client, block))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// resume gives the browser a session that began an hour ago, changed by edit.
func (b *oidcBrowser) resume(edit func(*oidcSession)) {
	b.t.Helper()
	now := time.Now()
	s := oidcSession{login: now.Add(-time.Hour), until: now.Add(time.Hour), id: "id", token: b.p.idToken(ada(b.p))}
	if edit != nil {
		edit(&s)
	}
	b.cookies["__Host-pithead"] = "1." + oidcRing(b.t, oidcKey, b.p.URL, "shop", "route/test/middleware/0").Seal(s.encode())
}

func ada(p *fakeProvider) members {
	now := time.Now().Unix()
	return members{"iss": p.URL, "aud": "shop", "sub": "ada", "sid": "s1", "iat": now, "exp": now + 300}
}

func TestOIDCSessionsThatAreNone(t *testing.T) {
	p := newFakeProvider(t)
	block := "route/test/middleware/0"
	good := oidcSession{login: time.Now(), until: time.Now().Add(time.Hour), id: "id", token: p.idToken(ada(p))}
	seal := func(key, issuer, client, block string, plain []byte) string {
		return oidcRing(t, key, issuer, client, block).Seal(plain)
	}
	mine := seal(oidcKey, p.URL, "shop", block, good.encode())
	f := func(name, cookie string, want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, p, ", cookie: {max_age: 2h, keys: ["+oidcKey+"]}")
			b.cookies["__Host-pithead"] = cookie
			if a := b.send("GET /", nil); a.Status != want {
				t.Errorf("status %d, want %d", a.Status, want)
			}
		})
	}
	with := func(edit func(*oidcSession)) string {
		s := good
		edit(&s)
		return "1." + seal(oidcKey, p.URL, "shop", block, s.encode())
	}
	f("a good one", "1."+mine, 200)
	f("other key", "1."+seal(strings.Repeat("x", 32), p.URL, "shop", block, good.encode()), 401)
	f("other issuer", "1."+seal(oidcKey, "https://evil.example", "shop", block, good.encode()), 401)
	f("other client", "1."+seal(oidcKey, p.URL, "bank", block, good.encode()), 401)
	f("other block", "1."+seal(oidcKey, p.URL, "shop", "route/other/middleware/0", good.encode()), 401)
	f("tampered", "1."+mine[:40]+"A"+mine[41:], map[bool]int{true: 200, false: 401}[mine[40] == 'A'])
	f("cut", "1."+mine[:len(mine)-4], 401)
	f("half", "2."+mine, 401)
	f("other form", "1."+seal(oidcKey, p.URL, "shop", block, []byte("{}")), 401)
	f("more behind it", "1."+seal(oidcKey, p.URL, "shop", block, append(good.encode(), 0)), 401)
	f("over", with(func(s *oidcSession) { s.until = time.Now().Add(-time.Second) }), 401)
	f("older than sessions may be", with(func(s *oidcSession) { s.login = time.Now().Add(-3 * time.Hour) }), 401)
	f("no token", with(func(s *oidcSession) { s.token = "" }), 401)
	f("in the clear", "1.eyJzdWIiOiJhZGEifQ", 401)
}

// A provider may sign with a key that it has made a moment ago.
func TestOIDCKeyOfTheProviderIsNew(t *testing.T) {
	p := newFakeProvider(t)
	p.keys = `{"keys":[` + jwkOf("ec", signers()["ec"], "") + `]}`
	b := newBrowser(t, p, "")
	p.mu.Lock()
	p.keys = keySet()
	p.mu.Unlock()
	b.login()
	if a := b.send("GET /", nil); a.Status != http.StatusOK {
		t.Errorf("%d %v", a.Status, a.Exchange.Err)
	}
}

func TestOIDCKeysRotate(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	b.login()
	old := b.cookies
	newKey := strings.Repeat("n", 32)
	both := newBrowser(t, p, ", cookie: {keys: ["+newKey+", "+oidcKey+"]}")
	both.cookies = old
	if a := both.send("GET /", nil); a.Status != http.StatusOK {
		t.Errorf("the key before is not taken: %d", a.Status)
	}
	alone := newBrowser(t, p, ", cookie: {keys: ["+newKey+"]}")
	alone.cookies = old
	if a := alone.send("GET /", nil); a.Status != http.StatusUnauthorized {
		t.Errorf("a key that is gone is taken: %d", a.Status)
	}
}

func TestOIDCLargeSessions(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	a := b.get(p.login(b.toProvider(b.get("/")), members{"groups": strings.Repeat("g", 5000)}))
	if a.Status != http.StatusFound || len(b.cookies) < 2 {
		t.Fatalf("%d with %d cookies: %v", a.Status, len(b.cookies), a.Exchange.Err)
	}
	if a := b.send("GET /", nil); a.Status != http.StatusOK || a.Sent.Header.Get("Cookie") != "" {
		t.Errorf("%d, upstream %v", a.Status, a.Sent)
	}
	delete(b.cookies, "__Host-pithead-1")
	if a := b.send("GET /", nil); a.Status != http.StatusUnauthorized {
		t.Errorf("a part is enough: %d", a.Status)
	}
	p.change = func(answer members) { answer["refresh_token"] = strings.Repeat("r", 8000) }
	b = newBrowser(t, p, "")
	a = b.get(p.login(b.toProvider(b.get("/")), members{"groups": strings.Repeat("g", 5000)}))
	if a.Status != http.StatusBadGateway || a.Exchange.Err.Reason != "oidc_too_large" || b.cookies["__Host-pithead"] != "" {
		t.Errorf("%d %v", a.Status, a.Exchange.Err)
	}
}

func TestOIDCRenewal(t *testing.T) {
	begin := func(t *testing.T) (*fakeProvider, *oidcBrowser) {
		p := newFakeProvider(t)
		b := newBrowser(t, p, ", headers: {X-Email: email}")
		p.with = true
		claims := ada(p)
		claims["email"] = "new@example.com"
		p.refresh["r0"] = claims
		b.resume(func(s *oidcSession) { s.refresh, s.renew = "r0", time.Now().Add(-time.Second) })
		return p, b
	}
	t.Run("once, and for what was on its way", func(t *testing.T) {
		p, b := begin(t)
		late := b.copy()
		for _, who := range []*oidcBrowser{b, b, late, late} {
			if a := who.send("GET /", nil); a.Status != http.StatusOK || a.Sent.Header.Get("X-Email") != "new@example.com" {
				t.Errorf("%d with %v", a.Status, a.Sent)
			}
		}
		if p.renewals != 1 {
			t.Errorf("%d renewals", p.renewals)
		}
		if b.cookies["__Host-pithead"] == "" || len(b.set) != 1 || !strings.Contains(b.set[0], "; Max-Age=3") {
			t.Errorf("%q", b.set)
		}
	})
	t.Run("together", func(t *testing.T) {
		p, b := begin(t)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if a := b.copy().send("GET /", nil); a.Status != http.StatusOK {
					t.Errorf("%d %v", a.Status, a.Exchange.Err)
				}
			})
		}
		wg.Wait()
		if p.renewals != 1 {
			t.Errorf("%d renewals", p.renewals)
		}
	})
	t.Run("the provider says no", func(t *testing.T) {
		p, b := begin(t)
		delete(p.refresh, "r0")
		if a := b.send("GET /", nil); a.Status != http.StatusUnauthorized {
			t.Errorf("%d", a.Status)
		}
	})
	t.Run("about somebody else", func(t *testing.T) {
		p, b := begin(t)
		p.refresh["r0"]["sub"] = "eve"
		if a := b.send("GET /", nil); a.Status != http.StatusUnauthorized || a.Exchange.Subject != "" {
			t.Errorf("%d as %q", a.Status, a.Exchange.Subject)
		}
	})
	t.Run("without an ID token", func(t *testing.T) {
		p, b := begin(t)
		p.change = func(answer members) { delete(answer, "id_token") }
		if a := b.send("GET /", nil); a.Status != http.StatusOK || a.Exchange.Subject != "ada" || len(b.set) != 1 {
			t.Errorf("%d as %q, %q", a.Status, a.Exchange.Subject, b.set)
		}
	})
	t.Run("fault 47 the provider is away", func(t *testing.T) {
		p, b := begin(t)
		p.failing = http.StatusServiceUnavailable
		for range 3 {
			if a := b.send("GET /", nil); a.Status != http.StatusOK || a.Exchange.Subject != "ada" || len(b.set) > 0 {
				t.Errorf("%d as %q, %q", a.Status, a.Exchange.Subject, b.set)
			}
		}
	})
}

func TestOIDCProviderAway(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	p.Close()
	b.resume(nil)
	if a := b.get("/"); a.Status != http.StatusOK {
		t.Errorf("fault 47: a session ends with the provider: %d", a.Status)
	}
	b.cookies = map[string]string{}
	a := b.get("/")
	if a.Status != http.StatusServiceUnavailable || a.Exchange.Err.Reason != "oidc_provider" || a.Header.Get("Retry-After") != "2" {
		t.Errorf("%d %v", a.Status, a.Exchange.Err)
	}
}

func TestOIDCOtherSites(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	b.resume(nil)
	f := func(name, request string, want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			if a := b.send(request, nil); a.Status != want || want == 403 && a.Exchange.Err.Reason != "oidc_csrf" {
				t.Errorf("%d %v", a.Status, a.Exchange.Err)
			}
		})
	}
	f("J34 POST of another site", "POST /\nSec-Fetch-Site: cross-site", 403)
	f("J34 POST of a sibling", "POST /\nSec-Fetch-Site: same-site", 403)
	f("J34 POST of an old browser", "POST /\nOrigin: https://evil.example", 403)
	f("POST of this site", "POST /\nSec-Fetch-Site: same-origin", 200)
	f("POST of no browser", "POST /", 200)
	f("link of another site", "GET /\nSec-Fetch-Site: cross-site", 200)
	f("U07 WebSocket of another site", "GET /\nUpgrade: websocket\nOrigin: https://evil.example", 403)
	f("WebSocket of this site", "GET /\nUpgrade: websocket\nOrigin: https://api.example.com", 200)
}

func TestOIDCDemands(t *testing.T) {
	p := newFakeProvider(t)
	more := ", claims: [{claim: groups, equals: staff}], subject: email"
	b := newBrowser(t, p, more)
	with := func(claims members) func(*oidcSession) {
		return func(s *oidcSession) {
			all := ada(p)
			maps.Copy(all, claims)
			s.token = p.idToken(all)
		}
	}
	b.resume(with(members{"groups": []string{"staff"}, "email": "ada@example.com"}))
	if a := b.send("GET /", nil); a.Status != 200 || a.Exchange.Subject != "ada@example.com" {
		t.Errorf("%d as %q", a.Status, a.Exchange.Subject)
	}
	b.resume(with(members{"groups": []string{"guests"}, "email": "ada@example.com"}))
	if a := b.send("GET /", nil); a.Status != 403 || a.Exchange.Err.Reason != "oidc_denied" || a.Exchange.Subject != "" {
		t.Errorf("%d %v", a.Status, a.Exchange.Err)
	}
	b.resume(with(members{"groups": []string{"staff"}}))
	if a := b.send("GET /", nil); a.Status != 403 || a.Exchange.Err.Reason != "oidc_subject" {
		t.Errorf("%d %v", a.Status, a.Exchange.Err)
	}
}

func TestOIDCPlainHTTP(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, "")
	plain := func(_ *http.Request, x *gateway.Exchange) { x.Scheme = "http" }
	a := b.send("GET http://shop.example.com/\nAccept: text/html", plain)
	if a.Status != http.StatusForbidden || a.Exchange.Err.Reason != "oidc_https" {
		t.Errorf("%d %v", a.Status, a.Exchange.Err)
	}
	for _, host := range []string{"localhost:8080", "127.0.0.1:8080", "[::1]:8080"} {
		b.cookies, b.set = map[string]string{}, nil
		to := b.toProvider(b.send("GET http://"+host+"/\nAccept: text/html", plain))
		if got := to.Query().Get("redirect_uri"); got != "http://"+host+"/oauth2/callback" {
			t.Errorf("back to %q", got)
		}
		a = b.send("GET http://"+host+p.login(to, nil), plain)
		if a.Status != http.StatusFound || b.cookies["pithead"] == "" || strings.Contains(strings.Join(b.set, "\n"), "Secure") {
			t.Errorf("%d with %q: %v", a.Status, b.set, a.Exchange.Err)
		}
	}
}

// FuzzOIDCSession has any bytes in a cookie that the gateway has sealed, and any line beside it.
func FuzzOIDCSession(f *testing.F) {
	env := middlewaretest.Env(f, middlewaretest.NewCluster("shop"))
	step := middlewaretest.Build(f, env, oidcBlock("https://id.example.com", ""))
	ring := oidcRing(f, oidcKey, "https://id.example.com", "shop", "route/test/middleware/0")
	for _, s := range []oidcSession{{}, {id: "x", until: time.Now().Add(time.Hour), token: "a.e30.c"}, {until: time.Now().Add(time.Hour), token: "a.eyJzdWIiOiJhIn0.c"}} {
		f.Add(s.encode(), "a=b")
		f.Add(s.encode()[:20], "__Host-pithead-1=x")
	}
	f.Fuzz(func(t *testing.T, plain []byte, line string) {
		fuzzOIDC(t, env, step, "__Host-pithead=1."+ring.Seal(plain)+"; "+line)
		fuzzOIDC(t, env, step, line)
	})
}

func fuzzOIDC(t *testing.T, env middleware.Env, step gateway.Step, line string) {
	r := middlewaretest.Request(t, "GET /")
	r.Header["Cookie"] = []string{line}
	a := middlewaretest.Send(t, env, step, r, &gateway.Exchange{})
	switch {
	case a.Status == 200 && (a.Exchange.Subject == "" || strings.Contains(a.Sent.Header.Get("Cookie"), "__Host-pithead=")):
		t.Errorf("%q passes as %q with %q", line, a.Exchange.Subject, a.Sent.Header)
	case a.Status != 200 && a.Exchange.Err == nil:
		t.Errorf("%q: status %d for no reason", line, a.Status)
	}
}
