package middleware_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const forwardAuth = `forward_auth:
  to: auth
  path: /check
  request_headers: [Authorization, Cookie]
  response_headers: {to_upstream: [x-user, X-Groups, Authorization], to_client: [Set-Cookie]}
  subject_header: X-User`

// loginPage lets in who has the cookie of a session and sends others to log in.
func loginPage(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Connection", "X-Hop")
	h.Set("X-Hop", "1")
	h.Set("X-Secret", "inside")
	h.Set("Set-Cookie", "seen=1")
	if _, err := r.Cookie("session"); err != nil {
		h.Set("Location", "https://login.example.com/?rd="+url.QueryEscape(r.Header.Get("X-Forwarded-Uri")))
		h.Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, "log in first")
		return
	}
	h.Set("X-User", "alice")
	h.Add("X-Groups", "a")
	h.Add("X-Groups", "b")
	h.Set("Authorization", "Bearer inside")
}

func TestForwardAuth(t *testing.T) {
	auth := middlewaretest.NewCluster("auth").Handle(loginPage)
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), auth)
	middlewaretest.Run(t, env, forwardAuth, []middlewaretest.Case{
		{
			Name: "passes", Request: "GET /v1?a=b\nCookie: session=1\nAuthorization: Basic client", Proves: "alice",
			Header: map[string]string{"Set-Cookie": "seen=1", "X-Secret": "", "X-Groups": ""},
			Sent:   map[string]string{"X-User": "alice", "X-Groups": "a, b", "Authorization": "Bearer inside", "X-Secret": "", "Cookie": "session=1"},
		},
		{
			Name: "a redirect to the login is passed through", Request: "GET /v1?a=b", Status: 302, Reason: "forward_auth_denied",
			Header: map[string]string{
				"Location": "https://login.example.com/?rd=%2Fv1%3Fa%3Db", "Set-Cookie": "seen=1", "Content-Type": "text/html",
				"X-Secret": "", "X-Hop": "", "Connection": "", "Cache-Control": "no-store",
			},
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if a.Body != "log in first" {
					t.Errorf("body %q", a.Body)
				}
			},
		},
		{
			Name: "HEAD has no body", Request: "HEAD /v1", Status: 302, Reason: "forward_auth_denied",
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if a.Body != "" {
					t.Errorf("body %q", a.Body)
				}
			},
		},
		{
			Name: "gRPC gets a code", Request: "POST /pkg.Service/Call\nContent-Type: application/grpc", Reason: "forward_auth_denied",
			Prepare: func(r *http.Request, _ *gateway.Exchange) { r.ProtoMajor = 2 },
			Header:  map[string]string{"Grpc-Status": "16", "Location": "", "Content-Type": "application/grpc"},
		},
	})
	step := middlewaretest.Build(t, env, forwardAuth)
	if want := []string{"X-Groups", "X-User"}; !slices.Equal(step.Owns, want) {
		t.Errorf("owns %v, want %v: clients need Authorization on other routes", step.Owns, want)
	}
	if want := []gateway.Identity{gateway.Subject}; !slices.Equal(step.Proves, want) {
		t.Errorf("proves %v", step.Proves)
	}
}

// TestForwardAuthQuestion shows the request that the service gets.
func TestForwardAuthQuestion(t *testing.T) {
	request := "PUT https://api.example.com/v1/a%20b?q=1\nAuthorization: Bearer a\nCookie: b\nX-Api-Key: c\n" +
		"X-Forwarded-Uri: /public\nX-Forwarded-For: 127.0.0.1\nX-Forwarded-Method: GET\nContent-Type: text/plain\n\nhello"
	ask := func(block string) (*http.Request, string) {
		t.Helper()
		var body []byte
		auth := middlewaretest.NewCluster("auth").Handle(func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) })
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), auth)
		var upstream []byte
		env.To.(*middlewaretest.Cluster).Handle(func(_ http.ResponseWriter, r *http.Request) { upstream, _ = io.ReadAll(r.Body) })
		middlewaretest.Run(t, env, block, []middlewaretest.Case{{
			Name: block, Request: request,
			Prepare: func(r *http.Request, x *gateway.Exchange) {
				x.Request = r.Clone(r.Context())
				r.URL.Path = "/rewritten"
			},
		}})
		if string(upstream) != "hello" {
			t.Errorf("%s: the upstream got %q", block, upstream)
		}
		sent, _ := auth.Last()
		return sent, string(body)
	}
	base := http.Header{
		"User-Agent": {""}, "X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"api.example.com"}, "X-Forwarded-Method": {"PUT"},
		"X-Forwarded-Proto": {"https"}, "X-Forwarded-Uri": {"/v1/a%20b?q=1"}, "X-Request-Id": {"test-1"},
	}
	t.Run("K15 no credentials but those that are named", func(t *testing.T) {
		sent, body := ask("forward_auth: {to: auth, request_headers: []}")
		if diff := cmp.Diff(base, sent.Header); diff != "" {
			t.Error(diff)
		}
		if sent.Method != "GET" || sent.URL.Path != "/" || sent.URL.RawQuery != "" || sent.Host != "api.example.com" || body != "" || sent.ContentLength != 0 {
			t.Errorf("%s %s of %s, %q", sent.Method, sent.URL, sent.Host, body)
		}
	})
	t.Run("K15 credentials that are named", func(t *testing.T) {
		want := base.Clone()
		want["Authorization"], want["Content-Type"] = []string{"Bearer a"}, []string{"text/plain"}
		sent, body := ask("forward_auth: {to: auth, method: POST, path: /check, host: auth.example.com, request_headers: [authorization], body: 5B}")
		if diff := cmp.Diff(want, sent.Header); diff != "" {
			t.Error(diff)
		}
		if sent.Method != "POST" || sent.URL.Path != "/check" || sent.Host != "auth.example.com" || body != "hello" || sent.ContentLength != 5 {
			t.Errorf("%s %s of %s, %q", sent.Method, sent.URL, sent.Host, body)
		}
	})
}

func TestForwardAuthFailsClosed(t *testing.T) {
	auth := middlewaretest.NewCluster("auth")
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), auth)
	step := middlewaretest.Build(t, env, "forward_auth: {to: auth, request_headers: [], subject_header: X-User, body: 4B}")
	f := func(name, reason string, status int, answer http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			auth.Handle(answer)
			a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, "GET /"), &gateway.Exchange{})
			if a.Status != status || a.Exchange.Err == nil || a.Exchange.Err.Reason != reason || a.Sent != nil || strings.Contains(a.Body, "secret") {
				t.Errorf("%d %v %q", a.Status, a.Exchange.Err, a.Body)
			}
		})
	}
	for _, status := range []int{101, 500, 502, 503, 504, 599} {
		f("status "+strconv.Itoa(status), "forward_auth_failed", 503, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "secret")
		})
	}
	f("2xx without the subject", "forward_auth_answer", 503, func(http.ResponseWriter, *http.Request) {})
	f("2xx with two subjects", "forward_auth_answer", 503, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-User"] = []string{"a", "b"}
	})
	f("a refusal of 64 KiB and a byte", "forward_auth_answer", 503, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write(make([]byte, 64<<10+1))
	})
	f("a refusal of 64 KiB", "forward_auth_denied", 403, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write(make([]byte, 64<<10))
	})
	auth.Break(errors.New("connection refused"))
	f("nobody there", "forward_auth_failed", 503, func(http.ResponseWriter, *http.Request) {})
}

// meteredZeros is a body without an end that counts how much of it was read.
type meteredZeros struct{ read int }

func (e *meteredZeros) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }
func (*meteredZeros) Close() error                 { return nil }

// fixedAnswer is a cluster that gives one answer after a while.
type fixedAnswer struct {
	*middlewaretest.Cluster
	after time.Duration
	res   *http.Response
}

func (c fixedAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(c.after):
		return c.res, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func TestForwardAuthBounds(t *testing.T) {
	ask := func(t *testing.T, c fixedAnswer) middlewaretest.Answer {
		c.Cluster = middlewaretest.NewCluster("auth")
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		env.Upstream = func(string) (gateway.Cluster, bool) { return c, true }
		step := middlewaretest.Build(t, env, "forward_auth: {to: auth, request_headers: []}")
		return middlewaretest.Send(t, env, step, middlewaretest.Request(t, "GET /"), &gateway.Exchange{})
	}
	for status, want := range map[int]int{200: 200, 403: 503} {
		t.Run("S08 an answer of 10 GB with status "+strconv.Itoa(status), func(t *testing.T) {
			body := &meteredZeros{}
			a := ask(t, fixedAnswer{res: &http.Response{StatusCode: status, ContentLength: 10 << 30, Body: body}})
			if a.Status != want || body.read > 128<<10 {
				t.Errorf("status %d, %d bytes asked for", a.Status, body.read)
			}
		})
	}
	t.Run("K10 a service that hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			a := ask(t, fixedAnswer{after: time.Hour})
			if took := time.Since(begin); a.Status != 503 || took != time.Second {
				t.Errorf("status %d after %s", a.Status, took)
			}
		})
	})
	t.Run("a refusal that breaks off", func(t *testing.T) {
		body := io.NopCloser(io.MultiReader(strings.NewReader("no"), iotest.ErrReader(io.ErrUnexpectedEOF)))
		if a := ask(t, fixedAnswer{res: &http.Response{StatusCode: 403, ContentLength: -1, Body: body}}); a.Status != 503 {
			t.Errorf("status %d", a.Status)
		}
	})
}

func TestForwardAuthBody(t *testing.T) {
	auth := middlewaretest.NewCluster("auth")
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), auth)
	middlewaretest.Run(t, env, "forward_auth: {to: auth, request_headers: [], body: 4B}", []middlewaretest.Case{
		{Name: "fits", Request: "POST /\n\n1234"},
		{Name: "announced too large", Request: "POST /\n\n12345", Status: 413, Reason: "forward_auth_body"},
		{
			Name: "turns out too large", Request: "POST /\n\n12345", Status: 413, Reason: "forward_auth_body",
			Prepare: func(r *http.Request, _ *gateway.Exchange) { r.ContentLength = -1 },
		},
		{
			Name: "breaks off", Request: "POST /\n\n1", Status: 400, Reason: "forward_auth_body",
			Prepare: func(r *http.Request, _ *gateway.Exchange) {
				r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
			},
		},
		{
			Name: "gRPC is asked about without", Request: "POST /p.S/M\nContent-Type: application/grpc\n\n12345",
			Prepare: func(r *http.Request, _ *gateway.Exchange) { r.ProtoMajor = 2 },
		},
	})
}

func TestForwardAuthMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), middlewaretest.NewCluster("auth"))
	for block, want := range map[string][]string{
		"forward_auth: {to: auth}":                                               {`1:1: "request_headers" is required`},
		"forward_auth: {to: nobody, request_headers: []}":                        {`1:20: unknown upstream "nobody"`},
		"forward_auth: {to: auth, request_headers: [x-forwarded-for]}":           {`1:44: X-Forwarded-For is the gateway's to say`},
		"forward_auth: {to: auth, request_headers: [], path: /a/../b}":           {`1:53: "/a/../b" is no plain path, such as /check`},
		"forward_auth: {to: auth, request_headers: [], timeout: 0s, body: 2MiB}": {`1:56: must be more than 0`, `1:66: is not from 0 to 1MiB`},
		"forward_auth: {to: auth, request_headers: [], response_headers: {to_client: [Connection]}}": {
			`1:78: Connection belongs to the connection or frames the message, and is the gateway's own`,
		},
	} {
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s: %s", block, diff)
		}
	}
}
