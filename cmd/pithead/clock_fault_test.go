package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const clockRoutes = `upstreams:
  good: {discover: {static: {targets: [%q]}}, outlier_detection: {consecutive_gateway_errors: 3}, health: {path: /healthz, interval: 1s}}
  quick: {discover: {static: {targets: [%q]}}, outlier_detection: {consecutive_gateway_errors: 3, latency: {}}}
  gone: {discover: {static: {targets: ["127.0.0.1:1"]}}}
middleware:
  who: {jwt: {issuer: "https://id.example.com", audience: orders, jwks: {file: keys.json}}}
  key: {api_key: {keys: [{id: partner, sha256: "%x", not_after: %q}]}}
  day: {rate_limit: {rate: 100/d, burst: 3}}
  guard: {circuit_breaker: {consecutive: 3, open: 50m, max_open: 50m}}
  calm: {circuit_breaker: {failure_ratio: 0.1, minimum: 5}}
  site: {cache: {ttl: 30m}}
  few: {concurrency: {adaptive: {initial: 50, min: 50}}}
  well: {adaptive_limit: {target: 1m}}
routes:
  - {name: token, match: {prefix: /token}, use: [who], to: good}
  - {name: key, match: {prefix: /key}, use: [key], to: good}
  - {name: day, match: {prefix: /day}, use: [day], to: good}
  - {name: gone, match: {prefix: /gone}, use: [guard], to: gone}
  - {name: site, match: {prefix: /site}, use: [site], to: good}
  - {name: steady, match: {prefix: /v1/orders}, timeout: 20s, use: [retry, calm, few, well], to: quick}
  - {name: slow, match: {prefix: /v1/slow}, timeout: 2m, use: [calm], to: good}
`

// TestFault40ClockJumps sets the clock of the whole program an hour on and an hour back while
// requests go on: what goes by the clock on the wall follows it within a second, and
// nothing else notices. The full form builds the program with a clock of its own; the
// short one is TestWallOverlay, and the tests of fault 40 of the packages.
func TestFault40ClockJumps(t *testing.T) {
	if !fullFaults() {
		return
	}
	t.Attr("row", "fault 40")
	t.Attr("wants", "0 failed; no breaker, limit, timeout, ejection or cached answer changes; tokens and keys follow the clock within 1 s")
	g, in := newGateway(t, "listeners: {web: {address: ADDRESS}}\n"), startInstance(t, "good-1")
	w := newWall(t, g)
	now := time.Now()
	g.save("routes.d/keys.json", clockKeys)
	g.save("routes.d/r.yaml", fmt.Sprintf(clockRoutes, in.addr, quickOrigin(t), sha256.Sum256([]byte("open")), now.Add(30*time.Minute).Format(time.RFC3339)))
	g.run()
	c := &clockClient{t: t, g: g, client: &http.Client{Timeout: 2 * time.Minute, Transport: new(http.Transport)}, tokens: map[string]string{
		"ends":   clockToken(t, now.Add(-2*time.Hour), now.Add(30*time.Minute)),
		"begins": clockToken(t, now.Add(30*time.Minute), now.Add(2*time.Hour)),
		"ended":  clockToken(t, now.Add(-2*time.Hour), now.Add(-30*time.Minute)),
	}}
	t.Cleanup(c.client.CloseIdleConnections)
	for range 3 {
		c.want("/day", "", 200)
		c.want("/gone", "", http.StatusServiceUnavailable) // the third opens the breaker, which the metrics tell
	}
	c.want("/site/page", "", 200)
	c.settled("in the beginning", map[string]int{"ends": 200, "begins": 401, "ended": 401, "key": 200})
	var held sync.WaitGroup
	held.Go(func() { c.want("/v1/slow/held", "", 200) })
	g.until("a request is held", func() bool { return in.saw("held") })
	load := startSteady(t, g.addr, 4)
	right := map[string]int{"ends": 200, "begins": 401, "ended": 401, "key": 200}
	for range 3 {
		w.set(time.Hour)
		c.settled("an hour on", map[string]int{"ends": 401, "begins": 200, "ended": 401, "key": 401})
		w.set(0)
		c.settled("an hour back", right)
		w.set(-time.Hour)
		c.settled("an hour behind", map[string]int{"ends": 200, "begins": 401, "ended": 200, "key": 200})
		w.set(-time.Hour + time.Second) // a leap second
		w.set(0)
		c.settled("right again", right)
	}
	load.wantAllWell(t)
	in.letGo()
	held.Wait()
	m := g.scrape()
	m.want(t, "breaker_transitions_total", `breaker="calm/good"`, 0)
	m.want(t, "breaker_transitions_total", `breaker="calm/quick"`, 0)
	m.want(t, "breaker_transitions_total", `breaker="guard/gone"`, 1)
	m.want(t, "endpoint_ejections_total", "", 0)
	m.want(t, "concurrency_refused_total", "", 0)
	m.want(t, "adaptive_limit_refused_total", "", 0)
	t.Logf("%d requests, tokens and keys followed within %s", load.done.Load(), c.longest.Round(time.Millisecond))
	g.wantEnd(g.term())
}

// clockClient asks what the clock may change and what it may not.
type clockClient struct {
	t       *testing.T
	g       *gatewayUnderLoad
	tokens  map[string]string
	client  *http.Client
	longest time.Duration // until a decision had followed the clock
}

func (c *clockClient) ask(path, authorization string) (status int, state string) {
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.g.addr+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	if strings.HasPrefix(authorization, "Bearer ") {
		r.Header.Set("Authorization", authorization)
	} else {
		r.Header.Set("X-Api-Key", authorization)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, fmt.Sprint(resp.Header.Get("Cache-Status"), err)
}

func (c *clockClient) want(path, authorization string, want int) {
	c.t.Helper()
	if status, state := c.ask(path, authorization); status != want {
		c.t.Errorf("%s: %d %s, want %d", path, status, state, want)
	}
}

// settled waits until tokens and the key are judged as wants has it, a second at most, and
// finds all else as it was for two seconds, in which whatever ticks has ticked.
func (c *clockClient) settled(when string, wants map[string]int) {
	c.t.Helper()
	begin := time.Now()
	for name, want := range wants {
		path, authorization := "/token", "Bearer "+c.tokens[name]
		if name == "key" {
			path, authorization = "/key", "open"
		}
		status, state := c.ask(path, authorization)
		for ; status != want && time.Since(begin) < time.Second; status, state = c.ask(path, authorization) {
		}
		if status != want {
			c.t.Errorf("%s: %s: %d %s, want %d", when, name, status, state, want)
		}
	}
	c.longest = max(c.longest, time.Since(begin))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		c.want("/day", "", http.StatusTooManyRequests)
		c.want("/gone", "", http.StatusServiceUnavailable)
		if status, state := c.ask("/site/page", ""); status != 200 || !strings.Contains(state, "hit") {
			c.t.Errorf("%s: the cache answers %d %s", when, status, state)
		}
	}
}

var clockKeys = func() string {
	text, err := jwkSet("clock")
	if err != nil {
		panic(err) // a key that cannot be written
	}
	return string(text)
}()

func clockToken(t *testing.T, from, to time.Time) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": tokenIssuer, "aud": "orders", "sub": "ada", "nbf": from.Unix(), "exp": to.Unix(),
	})
	token.Header["kid"] = "clock"
	text, err := token.SignedString(signerOf("clock"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
