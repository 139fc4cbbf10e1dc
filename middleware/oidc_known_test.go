package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// wantLine checks a line of what a scrape shows.
func wantLine(t *testing.T, m *obs.Metrics, want string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	if !strings.Contains(text, "\n"+want+"\n") {
		name, _, _ := strings.Cut(want, "{")
		var near []string
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, name) {
				near = append(near, line)
			}
		}
		t.Errorf("no %s among\n%s", want, strings.Join(near, ""))
	}
}

// A session that is known is still the session of its cookies and of nobody else, ends when it
// ends, and when it is ended.
func TestOIDCKnownSessions(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, `, logout_path: /out, headers: {X-Email: email}`)
	b.login()
	want := func(when string, b *oidcBrowser, status int) {
		t.Helper()
		a := b.send("GET /orders", nil)
		if a.Status != status || status == http.StatusOK && (a.Exchange.Subject != "ada" || a.Sent.Header.Get("X-Email") != "ada@example.com") {
			t.Errorf("%s: status %d as %q, want %d", when, a.Status, a.Exchange.Subject, status)
		}
	}
	want("first", b, 200)
	want("again", b, 200)
	hits := func(n string) {
		t.Helper()
		wantLine(t, b.env.Process, `pithead_oidc_session_cache_hits_total{client="shop",issuer="`+p.URL+`"} `+n)
	}
	hits("2") // a dry run comes before each request here
	t.Run("a text that differs in its last letter", func(t *testing.T) {
		c := b.copy()
		text := c.cookies["__Host-pithead"]
		last := "A"
		if strings.HasSuffix(text, "A") {
			last = "B"
		}
		c.cookies["__Host-pithead"] = text[:len(text)-1] + last
		want("forged", c, 401)
	})
	t.Run("another site", func(t *testing.T) {
		a := b.send("POST /orders\nSec-Fetch-Site: cross-site\n\nx", nil)
		if a.Exchange.Err == nil || a.Exchange.Err.Reason != "oidc_csrf" {
			t.Errorf("%d %v", a.Status, a.Exchange.Err)
		}
	})
	t.Run("a block with other demands", func(t *testing.T) {
		other := *b
		other.step = middlewaretest.Build(t, b.env, oidcBlock(p.URL, `, logout_path: /out, claims: [{claim: email, equals: eve@example.com}]`))
		want("not eve", &other, 403)
		want("still not", &other, 403)
		want("the first block", b, 200)
	})
	t.Run("a block whose key is new", func(t *testing.T) {
		other := *b
		other.step = middlewaretest.Build(t, b.env, oidcBlock(p.URL, `, cookie: {keys: ["`+strings.Repeat("n", 32)+`"]}`))
		want("sealed by the key of before", &other, 401)
	})
	t.Run("logout", func(t *testing.T) {
		copied := b.copy()
		want("copied", copied, 200)
		if a := b.send("POST /out\nSec-Fetch-Site: same-origin\n\n", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("%d %v", a.Status, a.Exchange.Err)
		}
		want("after the logout", copied, 401)
		want("and after that", copied, 401)
	})
}

func TestOIDCKnownSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := knownSession(t, 10*time.Minute)
		f := func(want string) {
			t.Helper()
			x := &gateway.Exchange{Scheme: "https"}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, gateway.WithExchange(r, x))
			if x.Subject != want || want == "" && w.Code != http.StatusUnauthorized {
				t.Errorf("%d as %q, want %q", w.Code, x.Subject, want)
			}
		}
		f("ada")
		<-time.After(10*time.Minute - 1)
		f("ada")
		<-time.After(1)
		f("")
	})
}

// knownSession is a block and a request of a session that lasts for so long.
func knownSession(t testing.TB, life time.Duration) (http.Handler, *http.Request) {
	t.Helper()
	env := middlewaretest.Env(t, middlewaretest.NewCluster("shop"))
	step := middlewaretest.Build(t, env, oidcBlock("https://id.example.com", ""))
	now := time.Now()
	s := oidcSession{login: now, until: now.Add(life), id: "id", token: token(t, "rsa", goodClaims(members{"email": "ada@example.com", "groups": []string{"staff", "orders"}}))}
	ring := oidcRing(t, oidcKey, "https://id.example.com", "shop", "route/test/middleware/0")
	return step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})),
		middlewaretest.Request(t, "GET /\nCookie: __Host-pithead=1."+ring.Seal(s.encode()))
}

func TestOIDCMetrics(t *testing.T) {
	p := newFakeProvider(t)
	b := newBrowser(t, p, `, logout_path: /out`)
	b.login()
	b.get("/oauth2/callback?code=x&state=made-up")
	b.copy().get(p.login(b.toProvider((&oidcBrowser{t: t, env: b.env, step: b.step, p: p, cookies: map[string]string{}}).get("/")), nil))
	b.send("POST /out\nSec-Fetch-Site: same-origin\n\n", nil)
	for name, value := range map[string]string{
		`logins_total{R,result="begun"}`: "2", `logins_total{R,result="completed"}`: "1", `logins_total{R,result="state"}`: "2",
		`logins_total{R,result="token"}`: "0", `session_bytes_count{R}`: "1", `session_bytes_bucket{R,le="512"}`: "0",
	} {
		wantLine(t, b.env.Process, "pithead_oidc_"+strings.Replace(name, "R", `client="shop",issuer="`+p.URL+`"`, 1)+" "+value)
	}
	wantLine(t, b.env.Process, `pithead_oidc_logouts_total{client="shop",from="browser",issuer="`+p.URL+`"} 1`)
}
