package middleware_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// authServer is an authorization server. It says of each token what it was told to,
// and of others that they are not active.
type authServer struct {
	*httptest.Server
	tokens map[string]string
	asked  atomic.Int64
	check  func(*http.Request)
}

func newAuthServer(t testing.TB, tokens map[string]string) *authServer {
	t.Helper()
	s := &authServer{tokens: tokens}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if s.check != nil {
			s.check(r)
		}
		answer, ok := s.tokens[r.PostFormValue("token")]
		if !ok {
			answer = `{"active":false}`
		}
		_, _ = io.WriteString(w, answer) // a client that left has no need of it
	}))
	t.Cleanup(s.Close)
	return s
}

// block asks the server; more are further settings.
func (s *authServer) block(more string) string {
	return fmt.Sprintf(`oauth2_introspection: {endpoint: "%s/introspect", client: {id: pithead, secret: s3cret}, audience: orders%s}`, s.URL, more)
}

func inHour() int64 { return time.Now().Add(time.Hour).Unix() }

// activeWith is an answer that lets in, with other members before it.
func activeWith(more string) string {
	return fmt.Sprintf(`{%s"active":true,"sub":"alice","aud":["billing","orders"],"iss":"https://id.example.com","scope":"read write","client_id":"shop","exp":%d}`, more, inHour())
}

const withToken = "GET /\nAuthorization: Bearer "

func TestIntrospection(t *testing.T) {
	soon, past := inHour(), time.Now().Add(-time.Minute).Unix()
	s := newAuthServer(t, map[string]string{
		"good": activeWith(`"token_type":"Bearer","age":7,`), "text": `{"active":"true","sub":"alice","aud":"orders"}`,
		"one": `{"active":1,"sub":"alice","aud":"orders"}`, "missing": `{"sub":"alice","aud":"orders"}`, "null": `{"active":null,"sub":"alice","aud":"orders"}`,
		"aud": `{"active":true,"sub":"alice","aud":"billing"}`, "noaud": `{"active":true,"sub":"alice"}`,
		"iss":  `{"active":true,"sub":"alice","aud":"orders","scope":"read write","iss":"https://evil.example"}`,
		"sub":  `{"active":true,"aud":"orders","iss":"https://id.example.com"}`,
		"dpop": activeWith(`"token_type":"DPoP",`), "refresh": activeWith(`"token_use":"refresh_token",`), "keycloak": activeWith(`"typ":"Refresh",`),
		"scope": fmt.Sprintf(`{"active":true,"sub":"bob","aud":"orders","iss":"https://id.example.com","scope":"reader writer","exp":%d}`, soon),
		"old":   fmt.Sprintf(`{"active":true,"sub":"alice","aud":"orders","exp":%d}`, past),
		"nbf":   fmt.Sprintf(`{"active":true,"sub":"alice","aud":"orders","nbf":%d}`, soon),
		"times": `{"active":true,"sub":"alice","aud":"orders","exp":"tomorrow"}`,
		"large": activeWith(`"age":"` + strings.Repeat("x", 5<<10) + `",`),
	})
	env, _ := orders(t)
	block := s.block(`, issuer: "https://id.example.com", scopes: [read, write], headers: {x-client: client_id, x-scopes: scope, x-age: age}`)
	refused := func(name, token, reason string) middlewaretest.Case {
		return middlewaretest.Case{Name: name, Request: withToken + token, Status: 401, Reason: "introspection_" + reason}
	}
	forbidden := refused("scopes are words", "scope", "scope")
	forbidden.Status = 403
	forbidden.Header = header{"WWW-Authenticate": `Bearer realm="pithead", error="insufficient_scope", error_description="the token does not have the scope that is required", scope="read write"`}
	middlewaretest.Run(t, env, block, cases{
		{Name: "good", Request: withToken + "good", Proves: "alice", Sent: header{
			"X-Client": "shop", "X-Scopes": "read%20write", "X-Age": "7", "Authorization": "Bearer good",
		}},
		{Name: "good, from memory", Request: withToken + "good", Proves: "alice", Sent: header{"X-Client": "shop"}},
		{Name: "no token", Status: 401, Reason: "introspection_missing", Header: header{"WWW-Authenticate": `Bearer realm="pithead"`}},
		{Name: "another scheme", Request: "GET /\nAuthorization: Basic YTpi", Status: 401, Reason: "introspection_missing"},
		{Name: "two tokens", Request: withToken + "good\nAuthorization: Bearer bad", Status: 400, Reason: "introspection_ambiguous"},
		{Name: "no characters of a token", Request: withToken + "a\"b", Status: 400, Reason: "introspection_ambiguous"},
		refused("K12 too large to ask", strings.Repeat("a", 8<<10+1), "too_large"),
		refused("inactive", "unknown", "inactive"), refused("inactive, from memory", "unknown", "inactive"),
		refused("K13 text", "text", "inactive"), refused("K13 number", "one", "inactive"),
		refused("K13 missing", "missing", "inactive"), refused("K13 null", "null", "inactive"),
	})
	middlewaretest.Run(t, env, s.block(""), cases{
		refused("K14 for others", "aud", "audience"), refused("K14 for nobody", "noaud", "audience"), refused("nobody", "sub", "subject"),
		refused("bound to a key", "dpop", "type"), refused("refresh token", "refresh", "type"), refused("refresh token of Keycloak", "keycloak", "type"),
		refused("expired", "old", "expired"), refused("not yet", "nbf", "not_yet"), refused("no time", "times", "claims"),
	})
	middlewaretest.Run(t, env, block, cases{forbidden, refused("another issuer", "iss", "issuer"), refused("header too large", "large", "header")})
	middlewaretest.Run(t, env, s.block(", optional: true, forward: false, subject: client_id, claims: [{claim: sub, equals: alice}]"), cases{
		{Name: "optional"},
		{Name: "not forwarded", Request: withToken + "good", Proves: "shop", Sent: header{"Authorization": ""}},
		{Name: "denied", Request: withToken + "scope", Status: 401, Reason: "introspection_subject"},
		refused("optional, but bad", "unknown", "inactive"),
	})
	if n := s.asked.Load(); n != 21 {
		t.Errorf("asked %d times, want 21: the others are remembered", n)
	}
}

func TestIntrospectionExplains(t *testing.T) {
	s := newAuthServer(t, map[string]string{"good": activeWith("")})
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, s.block(", optional: true"))
	f := func(request, want string, status int) {
		t.Helper()
		x := &gateway.Exchange{}
		if got := step.Explain(middlewaretest.Request(t, request), x); !strings.HasPrefix(got, want) || x.Status != status {
			t.Errorf("%q with status %d, want %q with %d", got, x.Status, want, status)
		}
	}
	f("GET /", "passes without a token", 0)
	f(withToken+"good", "asks "+s.URL, 0)
	if s.asked.Load() != 0 {
		t.Error("a dry run asks")
	}
	send(t, env, step, withToken+"good", &gateway.Exchange{})
	send(t, env, step, withToken+"bad", &gateway.Exchange{})
	f(withToken+"good", `the caller is "alice"`, 0)
	f(withToken+"bad", "answers 401 (introspection_inactive)", 401)
}

func TestIntrospectionMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(settings string, want ...string) {
		t.Helper()
		t.Run(settings, func(t *testing.T) {
			got := middlewaretest.Mistakes(t, env, "oauth2_introspection:\n  "+strings.ReplaceAll(settings, "; ", "\n  "))
			for i := range got {
				_, got[i], _ = strings.Cut(got[i], ": ")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	const server, good = `endpoint: "https://id.example.com/i"; `, `client: {id: a, secret: b}; audience: x; `
	f(`endpoint: "http://id.example.com/i"; `+good, "http://id.example.com/i is not https: whoever can change its answer can make any token good; `insecure: true` accepts that")
	f(`endpoint: "http://169.254.169.254/i"; insecure: true; `+good, "http://169.254.169.254/i leads to a link-local address")
	f(server+"client: {id: a, secret: b}", "has no audience: tokens that were made for other services would be accepted; write audience: any if that is meant")
	f(server+good+"timeout: 0s", "is not more than 0 and at most 30s")
	f(server+good+"max_in_flight: 0", "must be at least 1")
	f(server+good+`subject: ""`, "names no member; leave it out for sub")
	f(server+good+"cache: {ttl: 1h}", "is not from 0s to 10m0s: what has been withdrawn would work for so long")
	f(server+good+"cache: {size: -1}", "is not from 0 to 1000000")
	f(server+good+`scopes: ["a b"]`, `"a b" is no scope; list them one by one`)
	f(server+good+"headers: {host: sub}", "host cannot tell of a claim: clients need it themselves")
	f(server+"audience: x; client: {id: a}", "has no secret; write secret: ${file:PATH}")
	f(server+"audience: x; client: {id: a, auth: digest}", `"digest" is not known; write basic, post or private_key_jwt`)
	f(server+"audience: x; client: {id: a, auth: private_key_jwt}", "key: private_key_jwt needs one: {file: PATH}")
	f(server+"audience: x; client: {id: a, auth: private_key_jwt, secret: b, key: {file: k}}", "private_key_jwt has a key in its place")
	f(server+"audience: x; client: {id: a, secret: b, key: {file: k}}", "is for auth: private_key_jwt")
	f(server+"audience: x; client: {id: a, auth: private_key_jwt, key: {file: k, alg: HS256}}", `"HS256" is not known; write RS256, PS256, ES256, ES384, EdDSA`)
}

// What is wrong with the server is never the client's advantage.
func TestIntrospectionHostile(t *testing.T) {
	f := func(name string, h http.HandlerFunc) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			other := newAuthServer(t, map[string]string{"t": activeWith("")})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Other", other.URL)
				h(w, r)
			}))
			defer server.Close()
			env, _ := orders(t)
			s := &authServer{Server: server}
			a := send(t, env, middlewaretest.Build(t, env, s.block(", timeout: 100ms")), withToken+"t", &gateway.Exchange{})
			if a.Status != 503 || a.Header.Get("Retry-After") != "2" || a.Sent != nil || a.Exchange.Err.Reason != "introspection_unavailable" || other.asked.Load() != 0 {
				t.Errorf("status %d, %v, error %v", a.Status, a.Header, a.Exchange.Err)
			}
		})
	}
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
	}
	f("K09 500", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = io.WriteString(w, activeWith(""))
	})
	f("K09 401 of the client", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	f("K09 no answer", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() })
	f("K09 endless drip", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"active":true,`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	f("K09 cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	f("K01 redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.Header.Get("Other"), http.StatusTemporaryRedirect)
	})
	f("K02 too large", text(activeWith(`"x":"`+strings.Repeat("x", 64<<10)+`",`)))
	f("K03 HTML", text("<html>"))
	f("empty", text(""))
	f("list", text(`[{"active":true}]`))
	f("member twice", text(`{"active":false,`+activeWith("")[1:]))
	f("more after it", text(activeWith("")+"{}"))
}

// K09: connections are refused; nobody passes, and nobody waits.
func TestIntrospectionServerAway(t *testing.T) {
	s := newAuthServer(t, nil)
	s.Close()
	env, cluster := orders(t)
	step := middlewaretest.Build(t, env, s.block(", optional: true"))
	for i := range 20 {
		a := send(t, env, step, withToken+fmt.Sprint("t", i), &gateway.Exchange{})
		reason, retry := "introspection_unavailable", "2"
		if i >= 5 { // the breaker is open
			reason, retry = "introspection_breaker", "5"
		}
		if a.Status != 503 || a.Exchange.Err.Reason != reason || a.Header.Get("Retry-After") != retry {
			t.Fatalf("request %d: %d %v, Retry-After %s", i, a.Status, a.Exchange.Err, a.Header.Get("Retry-After"))
		}
	}
	if _, count := cluster.Last(); count != 0 {
		t.Errorf("%d requests went upstream", count)
	}
}

// What one block has found out is not what another one asks for.
func TestIntrospectionCacheKey(t *testing.T) {
	s := newAuthServer(t, map[string]string{"good": activeWith("")})
	other := newAuthServer(t, nil)
	env, _ := orders(t)
	f := func(name, block string, status int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if a := send(t, env, middlewaretest.Build(t, env, block), withToken+"good", &gateway.Exchange{}); a.Status != status {
					t.Errorf("%s: status %d, want %d", block, a.Status, status)
				}
			}
		})
	}
	f("K11: as it is", s.block(""), 200)
	f("K11: other scopes", s.block(", scopes: [admin]"), 403)
	f("K11: other audience", strings.Replace(s.block(""), "audience: orders", "audience: [shipping]", 1), 401)
	f("K11: other issuer", s.block(`, issuer: "https://other.example"`), 401)
	f("K11: other introspector", other.block(""), 401)
	f("K11: again", s.block(""), 200)
	if s.asked.Load() != 4 || other.asked.Load() != 1 {
		t.Errorf("asked %d and %d times, want 4 and 1: the built blocks share what is kept", s.asked.Load(), other.asked.Load())
	}
}

func TestIntrospectionMetrics(t *testing.T) {
	s := newAuthServer(t, map[string]string{"good": activeWith("")})
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, s.block(""))
	step.Start()
	for _, token := range []string{"good", "good", "bad", "bad", "good"} {
		send(t, env, step, withToken+token, &gateway.Exchange{})
	}
	w := httptest.NewRecorder()
	env.Process.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	labels := fmt.Sprintf(`{client="pithead",endpoint="%s/introspect"`, s.URL)
	for _, want := range []string{
		"pithead_introspection_requests_total" + labels + `,result="active"} 1`,
		"pithead_introspection_requests_total" + labels + `,result="inactive"} 1`,
		"pithead_introspection_requests_total" + labels + `,result="failed"} 0`,
		"pithead_introspection_cache_hits_total" + labels + `} 3`, "pithead_introspection_breaker_open" + labels + `} 0`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

func TestIntrospectionClientBasicAndPost(t *testing.T) {
	const id, secret = "a:b c", "p%s+ü"
	f := func(auth string, check func(*http.Request) bool) {
		t.Helper()
		s := newAuthServer(t, nil)
		s.check = func(r *http.Request) {
			if !check(r) || r.PostFormValue("token") != "x" || r.PostFormValue("token_type_hint") != "access_token" || r.Method != http.MethodPost {
				t.Errorf("%s: %v %v", auth, r.Header, r.PostForm)
			}
		}
		env, _ := orders(t)
		block := fmt.Sprintf(`oauth2_introspection: {endpoint: %q, client: {id: %q, secret: %q, auth: %s}, audience: any}`, s.URL, id, secret, auth)
		send(t, env, middlewaretest.Build(t, env, block), withToken+"x", &gateway.Exchange{})
		if s.asked.Load() != 1 {
			t.Errorf("%s: asked %d times", auth, s.asked.Load())
		}
	}
	f("basic", func(r *http.Request) bool {
		user, pass, _ := r.BasicAuth()
		return user == url.QueryEscape(id) && pass == url.QueryEscape(secret) && r.PostFormValue("client_secret") == ""
	})
	f("post", func(r *http.Request) bool {
		return r.PostFormValue("client_id") == id && r.PostFormValue("client_secret") == secret && r.Header.Get("Authorization") == ""
	})
}
