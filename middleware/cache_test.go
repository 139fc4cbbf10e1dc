package middleware_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// cached is a cache in front of an upstream that counts, and says what it is told to.
type cached struct {
	t       *testing.T
	env     middleware.Env
	step    gateway.Step
	up      *middlewaretest.Cluster
	mu      sync.Mutex
	status  int
	head    map[string]string // of the answers
	body    string            // "" is the number of the request
	fetched int
}

func newCached(t *testing.T, block string, head map[string]string) *cached {
	t.Helper()
	c := &cached{t: t, up: middlewaretest.NewCluster("orders", "stable", "canary"), head: head, status: 200}
	c.up.Handle(c.serve)
	c.env = middlewaretest.Env(t, c.up)
	c.step = middlewaretest.Build(t, c.env, block)
	c.step.Start()
	return c
}

func (c *cached) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.fetched++
	status, head, body := c.status, c.head, c.body
	if body == "" {
		body = strconv.Itoa(c.fetched)
	}
	c.mu.Unlock()
	for name, value := range head {
		w.Header().Set(name, value)
	}
	if tag := head["ETag"]; tag != "" && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// set changes what the upstream says from now on.
func (c *cached) set(status int, head map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status, c.head = status, head
}

func (c *cached) fetches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetched
}

func (c *cached) send(request string, prepare ...func(*gateway.Exchange)) middlewaretest.Answer {
	c.t.Helper()
	x := &gateway.Exchange{}
	for _, f := range prepare {
		f(x)
	}
	return middlewaretest.Send(c.t, c.env, c.step, middlewaretest.Request(c.t, request), x)
}

// want sends a request, and says what must come back and how often the upstream was asked by then.
func (c *cached) want(request, body string, fetches int, status string, prepare ...func(*gateway.Exchange)) middlewaretest.Answer {
	c.t.Helper()
	a := c.send(request, prepare...)
	if got := a.Header.Get("Cache-Status"); a.Body != body || c.fetches() != fetches || !strings.Contains(got, status) {
		c.t.Errorf("%q: %d %q after %d fetches, %q; want %q after %d with %q", request, a.Status, a.Body, c.fetches(), got, body, fetches, status)
	}
	return a
}

func fresh(more ...string) map[string]string {
	h := map[string]string{"Cache-Control": "max-age=60", "Content-Type": "text/plain"}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = more[i+1]
	}
	return h
}

func TestCacheServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCached(t, "cache: {}", fresh())
		c.want("GET /a?x=1", "1", 1, "fwd=uri-miss; stored")
		<-time.After(7 * time.Second)
		a := c.want("GET /a?x=1", "1", 1, "pithead; hit; ttl=53")
		if a.Header.Get("Age") != "7" || a.Header.Get("Content-Length") != "1" || a.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("header %v", a.Header)
		}
		if h := c.send("HEAD /a?x=1"); h.Body != "" || h.Header.Get("Content-Length") != "1" || c.fetches() != 1 {
			t.Errorf("HEAD: %q %v", h.Body, h.Header)
		}
		c.want("GET /a?x=2", "2", 2, "uri-miss")
		<-time.After(54 * time.Second)
		c.want("GET /a?x=1", "3", 3, "fwd=stale; stored")
	})
}

func TestCacheDirectives(t *testing.T) {
	for _, c := range []struct {
		name, answer, request string
		stored                bool // the second request is answered from memory
	}{
		{"max-age", "max-age=60", "", true},
		{"nothing said", "", "", false},
		{"no-store", "no-store, max-age=60", "", false},
		{"private", "private, max-age=60", "", false},
		{"private with a name", `private="x-user", max-age=60`, "", false},
		{"no-cache without a validator", "no-cache", "", false},
		{"zero", "max-age=0", "", false},
		{"nonsense is stale", "max-age=soon", "", false},
		{"negative", "max-age=-1", "", false},
		{"the shorter of two", "max-age=0, max-age=60", "", false},
		{"s-maxage before max-age", "max-age=0, s-maxage=60", "", true},
		{"quoted", `max-age="60"`, "", true},
		{"a comma in quotes", `ext="a, no-store", max-age=60`, "", true},
		{"capitals", "Max-Age=60", "", true},
		{"the request wants none stored", "max-age=60", "no-store", false},
		{"the request wants it confirmed", "max-age=60", "no-cache", false},
		{"the request wants it younger", "max-age=60", "max-age=1", false},
		{"the request wants it fresh for longer", "max-age=60", "min-fresh=59", false},
		{"the request wants it fresh", "max-age=60", "min-fresh=50", true},
		{"Pragma is none", "max-age=60", "x", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				head := map[string]string{"Cache-Control": c.answer}
				if c.answer == "" {
					head = nil
				}
				cc := newCached(t, "cache: {}", head)
				cc.send("GET /\nCache-Control: " + c.request)
				<-time.After(2 * time.Second)
				cc.send("GET /\nPragma: no-cache\nCache-Control: " + c.request)
				if stored := cc.fetches() == 1; stored != c.stored {
					t.Errorf("from memory: %t", stored)
				}
			})
		})
	}
}

func TestCacheExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		in := func(d time.Duration) string { return now.Add(d).UTC().Format(http.TimeFormat) }
		c := newCached(t, "cache: {heuristic: 0.1}", map[string]string{"Date": in(0), "Expires": in(time.Minute)})
		c.send("GET /")
		c.want("GET /", "1", 1, "hit; ttl=60")
		c.set(200, map[string]string{"Date": in(0), "Expires": "0"})
		c.send("GET /past")
		c.want("GET /past", "3", 3, "no-freshness")
		c.set(200, map[string]string{"Date": in(-30 * time.Second), "Cache-Control": "max-age=60"})
		c.send("GET /old")
		c.want("GET /old", "4", 4, "hit; ttl=30")
		c.set(200, map[string]string{"Age": "50", "Date": in(0), "Cache-Control": "max-age=60"})
		c.send("GET /aged")
		if a := c.want("GET /aged", "5", 5, "hit; ttl=10"); a.Header.Get("Age") != "50" {
			t.Errorf("Age %q", a.Header.Get("Age"))
		}
		c.set(200, map[string]string{"Date": in(0), "Last-Modified": in(-100 * time.Second)})
		c.send("GET /guess")
		c.want("GET /guess", "6", 6, "hit; ttl=10")
	})
}

func TestCacheTTL(t *testing.T) {
	c := newCached(t, "cache: {ttl: 1m, statuses: [200, 404]}", nil)
	c.send("GET /a")
	c.want("GET /a", "1", 1, "hit")
	c.set(404, nil)
	c.send("GET /b")
	if a := c.want("GET /b", "2", 2, "hit"); a.Status != 404 {
		t.Errorf("status %d", a.Status)
	}
	c.set(301, nil)
	c.send("GET /c")
	c.want("GET /c", "4", 4, "no-freshness")
	c.set(200, map[string]string{"Cache-Control": "max-age=0"})
	c.send("GET /d")
	c.want("GET /d", "6", 6, "no-freshness")
	f := newCached(t, "cache: {ttl: 1m, force_ttl: true}", map[string]string{"Cache-Control": "max-age=0"})
	f.send("GET /")
	f.want("GET /", "1", 1, "hit; ttl=60")
	f.set(200, map[string]string{"Cache-Control": "private"})
	f.send("GET /mine")
	f.want("GET /mine", "3", 3, "private")
}

func TestCacheConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCached(t, "cache: {}", fresh("ETag", `"v1"`, "X-Rev", "1"))
		c.send("GET /")
		c.set(200, fresh("ETag", `"v1"`, "X-Rev", "2"))
		<-time.After(61 * time.Second)
		if a := c.want("GET /", "1", 2, "fwd=stale; fwd-status=304"); a.Status != 200 || a.Header.Get("X-Rev") != "2" {
			t.Errorf("%d %v", a.Status, a.Header)
		}
		if sent, _ := c.up.Last(); sent.Header.Get("If-None-Match") != `"v1"` {
			t.Errorf("asked with %v", sent.Header)
		}
		c.want("GET /", "1", 2, "hit; ttl=60")
		for request, status := range map[string]int{
			`If-None-Match: "v1"`: 304, `If-None-Match: W/"v1", "v0"`: 304, `If-None-Match: *`: 304, `If-None-Match: "v0"`: 200,
			`Range: bytes=0-0`: 206, `Range: bytes=5-`: 416, `Range: bytes=0-0,0-0`: 200, "Range: bytes=0-0\nIf-Range: \"v0\"": 200,
		} {
			if a := c.send("GET /\n" + request); a.Status != status || c.fetches() != 2 {
				t.Errorf("%s: %d, want %d; %d fetches", request, a.Status, status, c.fetches())
			}
		}
		if a := c.send("GET /new\nIf-None-Match: \"v1\""); a.Status != 304 || a.Body != "" {
			t.Errorf("a client that has it: %d %q", a.Status, a.Body)
		}
		if sent, _ := c.up.Last(); sent.Header.Get("If-None-Match") != "" {
			t.Error("the client's own condition went upstream, so that nothing could be stored")
		}
		c.want("GET /new", "3", 3, "hit")
	})
}

func TestCacheStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCached(t, "cache: {stale_while_revalidate: 10s, stale_if_error: 1m}", fresh())
		c.send("GET /")
		<-time.After(65 * time.Second)
		if a := c.send("GET /"); a.Body != "1" || !strings.Contains(a.Header.Get("Cache-Status"), "hit; ttl=-5") {
			t.Errorf("%q, %q", a.Body, a.Header.Get("Cache-Status"))
		}
		synctest.Wait() // for the new one, which is fetched beside the answer
		c.want("GET /", "2", 2, "hit; ttl=60")
		<-time.After(2 * time.Minute)
		c.set(503, nil)
		if a := c.want("GET /", "2", 3, "detail=stale-if-error"); a.Status != 200 || a.Exchange.Err != nil {
			t.Errorf("%d %v", a.Status, a.Exchange.Err)
		}
		c.up.Break(&gateway.Error{Status: 503, Reason: "circuit_open", Cause: gateway.CauseUpstream})
		c.want("GET /", "2", 3, "fwd-status=503")
		if a := c.send("GET /\nCache-Control: no-cache"); a.Status != 503 {
			t.Errorf("to one that wants nothing stale: %d", a.Status)
		}
		<-time.After(time.Minute)
		if a := c.send("GET /"); a.Status != 503 || a.Exchange.Err == nil || a.Exchange.Err.Reason != "circuit_open" {
			t.Errorf("after its time: %d", a.Status)
		}
		if a := c.send("GET /other\nCache-Control: only-if-cached"); a.Status != 504 || a.Exchange.Err.Reason != "not_cached" {
			t.Errorf("only-if-cached: %d", a.Status)
		}
		c.up.Break(nil)
		c.set(200, fresh("Cache-Control", "max-age=1, must-revalidate"))
		c.send("GET /strict")
		<-time.After(2 * time.Second)
		c.set(500, nil)
		if a := c.send("GET /strict\nCache-Control: max-stale"); a.Status != 500 {
			t.Errorf("must-revalidate: %d", a.Status)
		}
		c.set(200, fresh("Cache-Control", "max-age=1, stale-while-revalidate=0"))
		c.send("GET /mild")
		<-time.After(3 * time.Second)
		before := c.fetches()
		c.want("GET /mild\nCache-Control: max-stale=5", strconv.Itoa(before), before, "hit; ttl=-2")
	})
}
