package middleware_test

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// What one caller has been told must not become what another one is told.
func TestCacheHostile(t *testing.T) {
	as := func(subject string) func(*gateway.Exchange) {
		return func(x *gateway.Exchange) { x.Subject = subject }
	}
	for _, c := range []struct {
		name        string
		head        map[string]string // of the answers, beside max-age=60
		first, then string            // requests; the second must be fetched
		who, whom   func(*gateway.Exchange)
	}{
		{name: "unkeyed X-Forwarded-Host", first: "GET /\nX-Forwarded-Host: evil.example", then: "GET /"},
		{name: "unkeyed X-Original-URL", first: "GET /\nX-Original-URL: /admin", then: "GET /"},
		{name: "unkeyed X-HTTP-Method-Override", first: "GET /\nX-HTTP-Method-Override: DELETE", then: "GET /"},
		{name: "unkeyed X-Forwarded-Scheme", first: "GET /\nX-Forwarded-Scheme: http", then: "GET /"},
		{name: "fat GET", first: "GET /\n\nq=evil", then: "GET /"},
		{name: "another host", first: "GET http://evil.example/", then: "GET /"},
		{name: "path confusion", first: "GET /account%2Fx.css", then: "GET /account/x.css"},
		{name: "Vary *", head: map[string]string{"Vary": "*"}, first: "GET /", then: "GET /"},
		{name: "huge Vary", head: map[string]string{"Vary": "A, B, C, D, E, F, G, H, I"}, first: "GET /", then: "GET /"},
		{name: "huge values of Vary", head: map[string]string{"Vary": "A"}, first: "GET /\nA: " + strings.Repeat("x", 5000), then: "GET /\nA: " + strings.Repeat("x", 5000)},
		{name: "Vary", head: map[string]string{"Vary": "Accept-Language"}, first: "GET /\nAccept-Language: de", then: "GET /\nAccept-Language: en"},
		{name: "header oversize", head: map[string]string{"X-Large": strings.Repeat("x", 40_000)}, first: "GET /", then: "GET /"},
		{name: "Set-Cookie", head: map[string]string{"Set-Cookie": "session=1"}, first: "GET /", then: "GET /"},
		{name: "Authorization", first: "GET /\nAuthorization: Basic YTpi", then: "GET /"},
		{name: "anonymous, then Authorization", first: "GET /", then: "GET /\nAuthorization: Basic YTpi"},
		{name: "a proven subject", first: "GET /", then: "GET /", who: as("ada")},
		{name: "two subjects", first: "GET /", then: "GET /", who: as("ada"), whom: as("bob")},
		{
			name: "identity headers of the gateway", first: "GET /", then: "GET /",
			who:  func(x *gateway.Exchange) { x.SetUpstreamHeader("X-User", "ada") },
			whom: func(x *gateway.Exchange) { x.SetUpstreamHeader("X-User", "bob") },
		},
		{
			name: "arms of a canary", head: map[string]string{"Cache-Control": "public, max-age=60"}, first: "GET /", then: "GET /",
			who: func(x *gateway.Exchange) { x.Arm, x.Subset = "canary", "canary" },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cc := newCached(t, "cache: {}", fresh())
			maps.Copy(cc.head, c.head)
			none := func(*gateway.Exchange) {}
			if c.who == nil {
				c.who = none
			}
			if c.whom == nil {
				c.whom = none
			}
			cc.send(c.first, c.who)
			if a := cc.send(c.then, c.whom); cc.fetches() != 2 || a.Body != "2" {
				t.Errorf("the second got %q, %q", a.Body, a.Header.Get("Cache-Status"))
			}
		})
	}
}

// Web cache deception: an operator's ttl is not for pages of somebody.
func TestCacheDeception(t *testing.T) {
	c := newCached(t, "cache: {ttl: 1h}", nil)
	c.send("GET /account/x.css\nCookie: session=1")
	c.want("GET /account/x.css", "2", 2, "uri-miss")
	c.send("GET /account/y.css\nAuthorization: Basic YTpi")
	c.want("GET /account/y.css", "4", 4, "uri-miss")
}

// What is public is given to everybody, whoever has asked first.
func TestCacheShares(t *testing.T) {
	c := newCached(t, "cache: {}", fresh("Cache-Control", "public, max-age=60"))
	c.send("GET /\nAuthorization: Basic YTpi", func(x *gateway.Exchange) { x.SetUpstreamHeader("X-User", "ada") })
	c.want("GET /", "1", 1, "hit")
	c.want("GET /", "1", 1, "hit", func(x *gateway.Exchange) { x.Subject = "bob" })
}

func TestCacheInvalidates(t *testing.T) {
	c := newCached(t, "cache: {}", fresh())
	c.send("GET /a")
	c.send("GET /b")
	c.set(500, nil)
	c.send("POST /a")
	c.want("GET /a", "1", 3, "hit")
	c.set(204, nil)
	c.send("DELETE /a")
	c.set(200, fresh())
	c.want("GET /a", "5", 5, "uri-miss")
	c.want("GET /b", "2", 5, "hit")
}

func TestCacheKey(t *testing.T) {
	c := newCached(t, "cache: {key: {sort_query: true, query: [q, page], headers: [X-Site]}}", fresh())
	c.send("GET /?utm=1&q=a&page=2")
	if sent, _ := c.up.Last(); sent.URL.RawQuery != "page=2&q=a" {
		t.Errorf("asked for %q: what is not in the key could change the answer", sent.URL.RawQuery)
	}
	c.want("GET /?page=2&q=a&evil=1", "1", 1, "hit")
	c.want("GET /?page=2&q=a\nX-Site: b", "2", 2, "miss")
}

// One fetch for all that wait; an answer for one caller lets them go.
func TestCacheCoalesces(t *testing.T) {
	for name, c := range map[string]struct {
		control string
		fetches int
	}{"shared": {"max-age=60", 1}, "private": {"private", 50}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cc := newCached(t, "cache: {}", fresh("Cache-Control", c.control))
				cc.up.Handle(func(w http.ResponseWriter, r *http.Request) {
					<-time.After(time.Second)
					cc.serve(w, r)
				})
				together(cc, 50, "GET /")
				if cc.fetches() != c.fetches {
					t.Errorf("%d fetches, want %d", cc.fetches(), c.fetches)
				}
			})
		})
	}
}

// together sends n requests at the same time, which must all be answered with 200.
func together(c *cached, n int, request string) {
	c.t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			r := gateway.WithExchange(middlewaretest.Request(c.t, request), &gateway.Exchange{Scheme: "https", Cluster: c.up, Upstream: "orders"})
			a := middlewaretest.Send(c.t, c.env, c.step, r, gateway.ExchangeOf(r))
			if a.Status != 200 {
				c.t.Errorf("%d", a.Status)
			}
		})
	}
	all.Wait()
}

// The wait is bounded, and ends with the service's failure for all.
func TestCacheWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCached(t, "cache: {wait: 1s}", fresh())
		c.up.Handle(func(w http.ResponseWriter, r *http.Request) {
			<-time.After(3 * time.Second)
			c.serve(w, r)
		})
		begin := time.Now()
		together(c, 10, "GET /")
		if took := time.Since(begin); took != 4*time.Second || c.fetches() != 10 {
			t.Errorf("%d fetches in %s", c.fetches(), took)
		}
	})
}

func TestCacheMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string]string{
		"cache: {max_bytes: 1KiB}":             "from 1MiB to 64GiB",
		"cache: {max_object: 32MiB}":           "a quarter of max_bytes, 16MiB",
		"cache: {force_ttl: true}":             "there is no ttl to force",
		"cache: {ttl: 1m, statuses: [206]}":    "answers with 206 are never stored",
		"cache: {heuristic: 2}":                "from 0 to 1",
		"cache: {key: {query: [a, a]}}":        "is there already",
		"cache: {key: {headers: [\"x y\"]}}":   "no name of a header",
		"cache: {wait: 2m}":                    "from 0s to 1m",
		"cache: {stale_if_error: -1s}":         "is negative",
		"cache: {tag_header: \"no header\"}":   "no name of a header",
		"cache: {stale_while_revalidate: -1s}": "is negative",
	} {
		if told := strings.Join(middlewaretest.Mistakes(t, env, block), "; "); !strings.Contains(told, want) {
			t.Errorf("%s: %s, want %s", block, told, want)
		}
	}
}
