package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// idp is an issuer on loopback: discovery, keys, and what it can do wrong.
type idp struct {
	*httptest.Server
	down     atomic.Bool
	document atomic.Pointer[string]
	calls    atomic.Int64 // for keys
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	p := &idp{}
	p.serve(keySet())
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case p.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.URL, p.URL+"/keys")
		default:
			p.calls.Add(1)
			_, _ = w.Write([]byte(*p.document.Load()))
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) serve(document string) { p.document.Store(&document) }

// eventually asks until the answer has this reason; the gateway is given seconds.
func eventually(t *testing.T, send func() middlewaretest.Answer, reason string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		got := ""
		if e := send().Exchange.Err; e != nil {
			got = e.Reason
		}
		if got == reason {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the reason is %q after 20 s, want %q", got, reason)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestJWTKeysOfAnIssuer(t *testing.T) {
	p := newIDP(t)
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, fmt.Sprintf("jwt: {issuer: %q, audience: orders}", p.URL))
	with := func(raw string) func() middlewaretest.Answer {
		return func() middlewaretest.Answer {
			return middlewaretest.Send(t, env, step, middlewaretest.Request(t, bearer(raw)), &gateway.Exchange{})
		}
	}
	ec := with(token(t, "ec", goodClaims(members{"iss": p.URL})))
	t.Run("K05: no keys yet", func(t *testing.T) {
		p.down.Store(true)
		if n := p.calls.Load(); n != 0 {
			t.Errorf("%d requests before the start", n)
		}
		ready := step.Start()
		a := ec()
		if a.Status != 503 || a.Exchange.Err.Reason != "jwt_keys" || a.Header.Get("Retry-After") != "2" {
			t.Errorf("status %d, error %v", a.Status, a.Exchange.Err)
		}
		if a := with("junk")(); a.Status != 401 {
			t.Errorf("status %d for what is no token", a.Status)
		}
		p.down.Store(false)
		for _, c := range ready {
			<-c
		}
	})
	if a := ec(); a.Status != 200 || a.Exchange.Subject != "ada" {
		t.Errorf("status %d, error %v", a.Status, a.Exchange.Err)
	}
	// Another route with the same issuer has the same keys.
	again := middlewaretest.Build(t, env, fmt.Sprintf("jwt: {issuer: %q, audience: orders, scopes: [a]}", p.URL))
	again.Start()
	if n := p.calls.Load(); n != 1 {
		t.Errorf("%d requests for keys, want 1", n)
	}
	t.Run("J35: rotation", func(t *testing.T) {
		p.serve(`{"keys":[` + jwkOf("new", signers()["ed"], "") + `]}`)
		rotated := tokenWith(t, members{"alg": "EdDSA", "kid": "new"}, goodClaims(members{"iss": p.URL}), "ed")
		eventually(t, with(rotated), "")
		if a := ec(); a.Status != 401 || a.Exchange.Err.Reason != "jwt_key" {
			t.Errorf("the old one, which was remembered: status %d, error %v", a.Status, a.Exchange.Err)
		}
	})
}

// However many tokens somebody makes up, memory is bounded, the issuer is left
// alone, and whoever has a good token never waits for those who have none.
func TestJWTFlood(t *testing.T) {
	t.Attr("wants", "1,000,000 tokens: memory bounded, the issuer left alone, good ones never wait")
	flood, longest := 20_000, 10*time.Second // of a machine with much else to do
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		flood, longest = 1_000_000, 2*time.Second
	}
	p := newIDP(t)
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, fmt.Sprintf("jwt: {issuer: %q, audience: orders}", p.URL))
	for _, c := range step.Start() {
		<-c
	}
	h := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	send := func(raw string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{"Bearer " + raw}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, gateway.WithExchange(r, &gateway.Exchange{}))
		return w.Code
	}
	good := token(t, "ec", goodClaims(members{"iss": p.URL, "exp": time.Now().Add(time.Hour).Unix()}))
	parts := strings.Split(good, ".")
	junk := func(i int) string {
		return b64(fmt.Appendf(nil, `{"alg":"ES256","kid":"junk-%d"}`, i)) + "." + parts[1] + "." + parts[2]
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	var wg sync.WaitGroup
	done := make(chan struct{})
	var slowest time.Duration
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			at := time.Now()
			if code := send(good); code != 200 {
				t.Errorf("status %d for a good token", code)
				return
			}
			slowest = max(slowest, time.Since(at))
		}
	})
	for i := range flood {
		if code := send(junk(i)); code != 401 {
			t.Fatalf("status %d for junk", code)
		}
	}
	close(done)
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	took := time.Since(begin)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	calls := p.calls.Load()
	t.Logf("%d junk tokens in %s, %d requests to the issuer, heap grown by %d KiB, slowest good one %s", flood, took, calls, grown>>10, slowest)
	if grown > 32<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if most := 2 + int64(took/time.Minute); calls > most {
		t.Errorf("%d requests to the issuer in %s, want at most %d", calls, took, most)
	}
	if slowest > longest {
		t.Errorf("a good token took %s", slowest)
	}
}

func TestJWTKeysInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(keySet()), 0o600); err != nil {
		t.Fatal(err)
	}
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, fmt.Sprintf("jwt: {issuer: %q, audience: orders, jwks: {file: %q}}", issuerURL, path))
	for _, c := range step.Start() {
		<-c
	}
	a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, bearer(token(t, "ec", goodClaims(nil)))), &gateway.Exchange{})
	if a.Status != 200 {
		t.Errorf("status %d, error %v", a.Status, a.Exchange.Err)
	}
}
