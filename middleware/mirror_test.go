package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// shadow is an upstream that gets copies. It remembers them with their bodies.
type shadow struct {
	*middlewaretest.Cluster
	answer func(*http.Request) (*http.Response, error) // nil: 200

	mu     sync.Mutex
	copies []*http.Request
	bodies []string
}

func newShadow() *shadow {
	s := &shadow{}
	s.Cluster = middlewaretest.NewCluster("shadow", "canary").Handle(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.copies, s.bodies = append(s.copies, r), append(s.bodies, string(body))
	})
	return s
}

// RoundTrip implements gateway.Cluster.
func (s *shadow) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.answer != nil {
		return s.answer(r)
	}
	return s.Cluster.RoundTrip(r)
}

// mirrored is a route to orders whose requests are copied to a shadow.
type mirrored struct {
	env    middleware.Env
	orders *middlewaretest.Cluster
	shadow *shadow
	count  *obs.Metrics
}

func newMirrored(t testing.TB) *mirrored {
	t.Helper()
	m := &mirrored{orders: middlewaretest.NewCluster("orders"), shadow: newShadow(), count: obs.NewMetrics(obs.Build{})}
	m.env = middlewaretest.Env(t, m.orders)
	m.env.Upstream = func(name string) (gateway.Cluster, bool) { return m.shadow, name == "shadow" }
	m.env.Metrics = func() *obs.Route { return m.count.Route("test") }
	return m
}

// readAll makes orders read bodies to their ends, as most upstreams do.
func (m *mirrored) readAll() *mirrored {
	m.orders.Handle(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	return m
}

// results are the counts of copies, as "answered 3 failed 1".
func (m *mirrored) results() string {
	w := httptest.NewRecorder()
	m.count.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	var all []string
	for line := range strings.Lines(w.Body.String()) {
		if rest, ok := strings.CutPrefix(line, `pithead_mirror_requests_total{result="`); ok {
			result, rest, _ := strings.Cut(rest, `"`)
			_, n, _ := strings.Cut(rest, "} ")
			all = append(all, result+" "+strings.TrimSpace(n))
		}
	}
	return strings.Join(all, " ")
}

// send sends a request in a bubble, waits for its copy, and says what became of it.
func (m *mirrored) send(t testing.TB, block, request string) middlewaretest.Answer {
	t.Helper()
	a := send(t, m.env, middlewaretest.Build(t, m.env, block), request, &gateway.Exchange{Client: clientAddr, Subject: "alice"})
	synctest.Wait()
	return a
}

func TestMirrorCopies(t *testing.T) {
	f := func(name, block, request, result, body string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			synctest.Test(t, func(t *testing.T) {
				m := newMirrored(t).readAll()
				a := m.send(t, "mirror: {to: shadow"+block+"}", request)
				if a.Status != http.StatusOK || a.Sent == nil {
					t.Errorf("the request itself: %d", a.Status)
				}
				if got := m.results(); got != result {
					t.Errorf("counted %q, want %q", got, result)
				}
				copied := strings.Join(m.shadow.bodies, "|")
				if want := strings.HasPrefix(result, "answered"); want != (len(m.shadow.copies) == 1) || copied != body {
					t.Errorf("%d copies with %q, want %v with %q", len(m.shadow.copies), copied, want, body)
				}
				if _, sent, _ := strings.Cut(request, "\n\n"); a.Body != sent {
					t.Errorf("the answer is %q, want %q", a.Body, sent)
				}
			})
		})
	}
	f("no body", "", "GET /x", "answered 1", "")
	f("body", "", "POST /x\n\nhello", "answered 1", "hello")
	f("all", ", percent: 100", "GET /x", "answered 1", "")
	f("none", ", percent: 0", "GET /x", "", "")
	f("no fraction", ", fraction: {numerator: 0, denominator: 1000}", "GET /x", "", "")
	f("whole fraction", ", fraction: {numerator: 100}", "GET /x", "answered 1", "")
	f("as large as may be", ", max_body: 5B", "POST /x\n\nhello", "answered 1", "hello")
	f("too large", ", max_body: 4B", "POST /x\n\nhello", "too_large 1", "")
	f("no bodies", ", max_body: 0", "POST /x\n\nhello", "too_large 1", "")
	f("no bodies, but this has none", ", max_body: 0", "GET /x", "answered 1", "")
	f("event stream", "", "GET /x\nAccept: text/event-stream", "", "")
	f("upgrade", "", "GET /x\nConnection: upgrade\nUpgrade: websocket", "", "")
}

// A gRPC call is a stream by its form only: what the caller has ended is copied.
func TestMirrorGRPC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t).readAll()
		r := middlewaretest.Request(t, "POST /pkg.Service/Get\nContent-Type: application/grpc\nTe: trailers\nGrpc-Timeout: 1S\n\n\x00\x00\x00\x00\x02hi")
		r.ProtoMajor, r.ContentLength = 2, -1
		middlewaretest.Send(t, m.env, middlewaretest.Build(t, m.env, "mirror: {to: shadow}"), r, &gateway.Exchange{})
		if synctest.Wait(); len(m.shadow.copies) != 1 || m.shadow.bodies[0] != "\x00\x00\x00\x00\x02hi" {
			t.Fatalf("copies %q", m.shadow.bodies)
		}
		if c := m.shadow.copies[0]; !gateway.IsGRPC(c) || c.Header.Get("Te") != "trailers" || c.Header.Get("Grpc-Timeout") != "1S" {
			t.Errorf("the copy is no call: %v", c.Header)
		}
	})
}

// Bodies without a length are known to be too large only when they are.
func TestMirrorChunks(t *testing.T) {
	f := func(name, body, result string) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMirrored(t).readAll()
				step := middlewaretest.Build(t, m.env, "mirror: {to: shadow, max_body: 4B}")
				r := middlewaretest.Request(t, "POST /x\n\n"+body)
				r.ContentLength = -1
				a := middlewaretest.Send(t, m.env, step, r, &gateway.Exchange{})
				if synctest.Wait(); a.Body != body || m.results() != result {
					t.Errorf("answer %q, counted %q; want %q", a.Body, m.results(), result)
				}
				if result == "answered 1" && (m.shadow.bodies[0] != body || m.shadow.copies[0].ContentLength != int64(len(body))) {
					t.Errorf("copied %q, length %d", m.shadow.bodies[0], m.shadow.copies[0].ContentLength)
				}
			})
		})
	}
	f("small", "abcd", "answered 1")
	f("large", "abcde", "too_large 1")
}

// What is copied is what goes upstream, whatever comes after the mirror in `use`.
func TestMirrorHead(t *testing.T) {
	f := func(row, block, request string, want http.Header, host, target string) {
		t.Helper()
		t.Run(row, func(t *testing.T) {
			t.Helper()
			synctest.Test(t, func(t *testing.T) {
				m := newMirrored(t)
				mirror := middlewaretest.Build(t, m.env, "mirror: {to: shadow"+block+"}")
				later := middlewaretest.Build(t, m.env, "headers: {request: {set: {X-Late: set}}}")
				inner := mirror.Wrap
				mirror.Wrap = func(next http.Handler) http.Handler { return inner(later.Wrap(next)) }
				x := &gateway.Exchange{Client: clientAddr, Subject: "alice"}
				a := send(t, m.env, mirror, request, x)
				if synctest.Wait(); len(m.shadow.copies) != 1 {
					t.Fatalf("%d copies", len(m.shadow.copies))
				}
				r := m.shadow.copies[0]
				want.Set("X-Late", "set")
				if diff := cmp.Diff(want, r.Header); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
				if got := r.URL.RequestURI(); r.Host != host || got != target {
					t.Errorf("host %s, target %s; want %s, %s", r.Host, got, host, target)
				}
				if strings.Contains(request, "Authorization") && a.Sent.Header.Get("Authorization") == "" {
					t.Error("the request itself has lost its credentials")
				}
				of := gateway.ExchangeOf(r)
				if of == x || of.Client != clientAddr {
					t.Errorf("the exchange of the copy: %+v", of)
				}
				got := []string{of.Upstream, of.Cluster.Name(), of.ID, of.Subject, x.Upstream}
				if diff := cmp.Diff([]string{"shadow", "shadow", x.ID, "alice", "orders"}, got); diff != "" {
					t.Errorf("exchange (-want +got):\n%s", diff)
				}
			})
		})
	}
	const secrets = "GET /x?y=%41&access_token=s&z=1\nUser-Agent: c\nAuthorization: Bearer s\nProxy-Authorization: s\nCookie: a=b\nCookie: c=d\nDPoP: s\n" +
		"X-Api-Key: s\nApi_key: s\nX-Auth-Token: s\nX-Amz-Security-Token: s\nX-Client-Secret: s\nIdempotency-Key: k\nX-A: b"
	f("K15", "", secrets, http.Header{"User-Agent": {"c"}, "Idempotency-Key": {"k"}, "X-A": {"b"}}, "api.example.com", "/x?y=%41&z=1")
	f("K17", ", percent: 100, host: shadow.internal:8080", "GET /x?access%5ftoken=s\nUser-Agent: c\nCookie: a=b", http.Header{"User-Agent": {"c"}}, "shadow.internal:8080", "/x")
	f("K17 unless told", ", credentials: true", "GET /x?access_token=s\nUser-Agent: c\nAuthorization: s\nCookie: a=b",
		http.Header{"User-Agent": {"c"}, "Authorization": {"s"}, "Cookie": {"a=b"}}, "api.example.com", "/x?access_token=s")
	f("no agent, no expectation", "", "GET /x?page_token=7\nExpect: 100-continue", http.Header{"User-Agent": {""}}, "api.example.com", "/x?page_token=7")
}

func TestMirrorSubset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t)
		m.send(t, "mirror: {to: shadow, subset: canary}", "GET /x")
		if x := m.shadow.LastExchange(); x == nil || x.Subset != "canary" {
			t.Errorf("exchange of the copy: %+v", x)
		}
	})
}

// Several mirrors of a route know nothing of each other.
func TestMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t).readAll()
		step := middlewaretest.Build(t, m.env, "mirror: {to: shadow, max_body: 4B}")
		m.env.Key += "1"
		second := middlewaretest.Build(t, m.env, "mirror: {to: shadow, host: b.example}")
		first := step.Wrap
		step.Wrap = func(next http.Handler) http.Handler { return first(second.Wrap(next)) }
		a := send(t, m.env, step, "POST /x\n\nhello", &gateway.Exchange{})
		synctest.Wait()
		if diff := cmp.Diff([]string{"hello"}, m.shadow.bodies); diff != "" || a.Body != "hello" || m.results() != "answered 1 too_large 1" {
			t.Errorf("answer %q, counted %q, copies (-want +got):\n%s", a.Body, m.results(), diff)
		}
	})
}

// To be exact, 30 % of 2000 are 600 with a standard deviation of 20.
func TestMirrorShare(t *testing.T) {
	for _, share := range []string{"percent: 30", "fraction: {numerator: 300, denominator: 1000}"} {
		synctest.Test(t, func(t *testing.T) {
			m := newMirrored(t)
			step := middlewaretest.Build(t, m.env, "mirror: {to: shadow, "+share+"}")
			for range 2000 {
				send(t, m.env, step, "GET /x", &gateway.Exchange{})
				synctest.Wait()
			}
			if _, n := m.shadow.Last(); n < 480 || n > 720 {
				t.Errorf("%s: %d of 2000 copied", share, n)
			}
		})
	}
}

func TestMirrorMistakes(t *testing.T) {
	env := newMirrored(t).env
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("mirror: {}", "1:1: copies to nowhere; name an upstream under to")
	f("mirror: {to: nobody}", `1:14: unknown upstream "nobody"`)
	f("mirror: {to: shadow, subset: x}", `1:30: upstream "shadow" has no arm "x"; define it under upstreams.shadow.arms`)
	f("mirror: {to: shadow, percent: 101}", "1:31: 101 is not from 0 to 100")
	f("mirror: {to: shadow, percent: -1}", "1:31: -1 is not from 0 to 100")
	f("mirror: {to: shadow, percent: 1, fraction: {numerator: 1}}", "1:31: percent and fraction exclude each other")
	f("mirror: {to: shadow, fraction: {numerator: 2, denominator: 1}}", "1:44: 2 is not from 0 to the denominator, 1")
	f("mirror: {to: shadow, fraction: {numerator: 0, denominator: 0}}", "1:60: must be at least 1")
	f("mirror: {to: shadow, fraction: {denominator: 10}}", "1:22: has no numerator")
	f("mirror: {to: shadow, host: a/b}", `1:28: "a/b" is no host`)
	f("mirror: {to: shadow, timeout: 0s}", "1:31: must be more than 0")
	f("mirror: {to: shadow, max_in_flight: 0}", "1:37: must be at least 1; to copy nothing, write percent: 0")
}

func TestMirrorExplain(t *testing.T) {
	env := newMirrored(t).env
	f := func(block, request, want string) {
		t.Helper()
		if got := middlewaretest.Build(t, env, block).Explain(middlewaretest.Request(t, request), &gateway.Exchange{}); got != want {
			t.Errorf("%s: %q, want %q", block, got, want)
		}
	}
	f("mirror: {to: shadow}", "GET /", "is copied to shadow")
	f("mirror: {to: shadow, subset: canary, percent: 10}", "GET /", "10 of 100 requests are copied to shadow, arm canary")
	f("mirror: {to: shadow}", "GET /\nUpgrade: websocket", "is not copied to shadow: it asks for a stream")
}
