package build

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pithead/pithead/gateway/breaker"
	"github.com/pithead/pithead/gateway/obs"
)

// counting answers with what the path says of caching, and how often it was asked.
// What it says is stale at once.
func counting(t *testing.T, name string) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		w.Header().Set("Cache-Control", strings.ReplaceAll(strings.TrimPrefix(r.URL.Path, "/"), "+", ", "))
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
		_, _ = fmt.Fprintf(w, "%s %d", name, n)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), asked
}

const bridgeConfig = `
upstreams:
  app: {discover: {static: {targets: [%q]}}}
  other: {discover: {static: {targets: [%q]}}}
middleware:
  site: {cache: {}}
  stale: {circuit_breaker: {fallback: {cache: stale}}}
routes:
  - {name: stale, match: {host: stale.test, prefix: /}, use: [site, stale], to: app}
  - {name: retried, match: {host: retried.test, prefix: /}, use: [site, retry, stale], to: app}
  - {name: fixed, match: {host: fixed.test, prefix: /}, use: [site, circuit_breaker: {fallback: {cache: stale, respond: {body: "[]", headers: {cache-control: max-age=60}}}}], to: app}
  - {name: moved, match: {host: moved.test, prefix: /}, use: [site, circuit_breaker: {fallback: {cache: stale, upstream: other}}], to: app}
  - {name: plain, match: {host: plain.test, prefix: /}, use: [site, circuit_breaker: {fallback: {respond: {body: "[]", headers: {cache-control: max-age=60}}}}], to: app}
`

// bridge is a gate whose breakers can be forced open after something is stored.
type bridge struct {
	*gate
	t              *testing.T
	metrics        *obs.Metrics
	asked, askedOf *atomic.Int64 // of the upstream, and of the other one
}

func newBridge(t *testing.T) *bridge {
	t.Helper()
	p := newProcess(t)
	addr, asked := counting(t, "app")
	other, askedOf := counting(t, "other")
	return &bridge{p.gate(p.start(fmt.Sprintf(bridgeConfig, addr, other))), t, p.Metrics, asked, askedOf}
}

func (b *bridge) force(f breaker.Force) {
	b.t.Helper()
	for _, s := range b.snap.Breakers().List() {
		if _, err := b.snap.Breakers().Force(s.Name, f); err != nil {
			b.t.Fatal(err)
		}
	}
}

// ask sends "METHOD host path", with further fields.
func (b *bridge) ask(request string, fields ...string) (*http.Response, string) {
	b.t.Helper()
	var method, host, path string
	if _, err := fmt.Sscan(request, &method, &host, &path); err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Host = host + ".test"
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Error(err)
		return &http.Response{}, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Error(err)
	}
	return res, string(body)
}

// TestCircuitGivesWhatTheCacheHas has the breaker refuse what the cache has stored.
func TestCircuitGivesWhatTheCacheHas(t *testing.T) {
	for _, c := range []struct {
		name, request string
		fields        []string
		status        int
		body, sign    string // of the answer while the breaker is open
	}{
		{"stale", "GET stale /max-age=0", nil, 200, "app 1", "fwd=stale; ttl=0; detail=circuit-open"},
		{"after a retry", "GET retried /max-age=0", nil, 200, "app 1", "detail=circuit-open"},
		{"whatever the answer says of errors", "GET stale /max-age=0+stale-if-error=0", nil, 200, "app 1", "detail=circuit-open"},
		{"a head", "HEAD stale /max-age=0", nil, 200, "", "detail=circuit-open"},
		{"a part", "GET stale /max-age=0", []string{"Range", "bytes=0-2"}, 206, "app", "detail=circuit-open"},
		{"to whom it is known", "GET stale /max-age=0", []string{"If-None-Match", `"1"`}, 304, "", "detail=circuit-open"},
		{"before a fixed answer", "GET fixed /max-age=0", nil, 200, "app 1", "detail=circuit-open"},
		{"before another upstream", "GET moved /max-age=0", nil, 200, "app 1", "detail=circuit-open"},
		{"must-revalidate", "GET stale /max-age=0+must-revalidate", nil, 503, "circuit_open", ""},
		{"proxy-revalidate", "GET stale /max-age=0+proxy-revalidate", nil, 503, "circuit_open", ""},
		{"s-maxage", "GET stale /s-maxage=0", nil, 503, "circuit_open", ""},
		{"no-cache", "GET stale /no-cache", nil, 503, "circuit_open", ""},
		{"private", "GET stale /private+max-age=0", nil, 503, "circuit_open", ""},
		{"no-store", "GET stale /no-store", nil, 503, "circuit_open", ""},
		{"a client that wants nothing stale", "GET stale /max-age=0", []string{"Cache-Control", "no-cache"}, 503, "circuit_open", ""},
		{"somebody else", "GET stale /max-age=0", []string{"Authorization", "Basic eDp5"}, 503, "circuit_open", ""},
		{"what is not to be given, but a fixed answer", "GET fixed /no-cache", nil, 200, "[]", "detail=not-from-upstream"},
		{"what is not to be given, but elsewhere", "GET moved /no-cache", nil, 200, "other 1", ""},
		{"a change, but elsewhere", "POST moved /max-age=0", nil, 200, "other 1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBridge(t)
			_, host, _ := strings.Cut(c.request, " ")
			if res, body := b.ask("GET " + host); res.StatusCode != 200 || body != "app 1" {
				t.Fatalf("%d %q while it is closed", res.StatusCode, body)
			}
			b.force(breaker.ForceOpen)
			for range 2 { // the second one finds what the first one has left
				res, body := b.ask(c.request, c.fields...)
				if c.body == "other 1" && b.askedOf.Load() == 2 {
					body = strings.Replace(body, "2", "1", 1)
				}
				sign := res.Header.Get("Cache-Status")
				if res.StatusCode != c.status || !strings.Contains(body, c.body) || !strings.Contains(sign, c.sign) {
					t.Errorf("%d %q with %q, want %d %q with %q", res.StatusCode, body, sign, c.status, c.body, c.sign)
				}
				if (res.Header.Get("Age") != "") != strings.Contains(c.sign, "circuit-open") {
					t.Errorf("Age %q", res.Header.Get("Age"))
				}
			}
			if n := b.asked.Load(); n != 1 {
				t.Errorf("the service was asked %d times", n)
			}
			if n := b.askedOf.Load(); (n == 2) != (c.body == "other 1") {
				t.Errorf("the other one was asked %d times", n)
			}
		})
	}
}

// TestCircuitWithNothingStored has the breaker refuse what nobody has asked for before.
func TestCircuitWithNothingStored(t *testing.T) {
	b := newBridge(t)
	for _, host := range []string{"stale", "fixed", "plain", "moved"} {
		_, _ = b.ask("GET " + host + " /no-store") // so that there is a breaker
	}
	b.force(breaker.ForceOpen)
	if res, body := b.ask("GET stale /max-age=60"); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "circuit_open") {
		t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
	}
	for _, host := range []string{"fixed", "plain"} {
		if res, body := b.ask("GET " + host + " /max-age=60"); res.StatusCode != 200 || body != "[]" {
			t.Errorf("%s: %d %q", host, res.StatusCode, body)
		}
	}
	if _, body := b.ask("GET moved /max-age=60"); body != "other 1" {
		t.Errorf("%q, want the answer of the other upstream", body)
	}
	b.force(breaker.Auto)
	for n, host := range []string{"fixed", "plain", "moved"} { // what stood in says max-age=60, but nothing has kept it
		if _, body := b.ask("GET " + host + " /max-age=60"); body != fmt.Sprintf("app %d", 5+n) {
			t.Errorf("%s: %q after the breaker has closed", host, body)
		}
	}
}

// TestCircuitAndCacheOfACrowd has many ask at once for what is stale.
func TestCircuitAndCacheOfACrowd(t *testing.T) {
	b := newBridge(t)
	_, _ = b.ask("GET stale /max-age=0")
	b.force(breaker.ForceOpen)
	var crowd sync.WaitGroup
	for range 50 {
		crowd.Go(func() {
			if res, body := b.ask("GET stale /max-age=0"); res.StatusCode != 200 || body != "app 1" {
				t.Errorf("%d %q", res.StatusCode, body)
			}
		})
	}
	crowd.Wait()
	if text := metricsText(t, b.metrics); !strings.Contains(text, `pithead_cache_requests_total{cache="site",result="stale"} 50`) {
		t.Error("the metric does not count them")
	}
	b.force(breaker.Auto)
	if res, body := b.ask("GET stale /max-age=0"); body != "app 2" || !strings.Contains(res.Header.Get("Cache-Status"), "stored") {
		t.Errorf("%q %v after the breaker has closed", body, res.Header)
	}
}
