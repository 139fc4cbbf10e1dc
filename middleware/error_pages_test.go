package middleware_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const allForms = `error_pages: {pages: [
  {statuses: [404, 500-503], json: '{"code": {status}, "why": "{reason}", "id": "{request_id}"}', html: "<h1>{status} {title}</h1><p>{request_id}", text: "{status} {title}: {reason}\n"},
  {statuses: [504], html: "<h1>late"},
  {text: "{status} {title}"}]}`

// broken is a route whose upstream fails with err.
func broken(t testing.TB, err *gateway.Error) middleware.Env {
	t.Helper()
	cluster := middlewaretest.NewCluster("orders")
	cluster.Break(err)
	return middlewaretest.Env(t, cluster)
}

func TestErrorPagesByAccept(t *testing.T) {
	const (
		jsonPage = `{"code": 503, "why": "no_endpoint", "id": "test-1"}`
		htmlPage = "<h1>503 Service Unavailable</h1><p>test-1"
		textPage = "503 Service Unavailable: no_endpoint\n"
		problem  = "application/problem+json"
	)
	types := map[string]string{jsonPage: "application/json", htmlPage: "text/html; charset=utf-8", textPage: "text/plain; charset=utf-8", problem: problem}
	env := broken(t, &gateway.Error{Status: 503, Reason: "no_endpoint"})
	f := func(name, accept, want string) middlewaretest.Case {
		return middlewaretest.Case{
			Name: name, Request: "GET /" + accept, Status: 503, Reason: "no_endpoint", To: "orders",
			Header: header{"Content-Type": types[want], "Vary": "Accept", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if want == problem {
					if !json.Valid([]byte(a.Body)) || !strings.Contains(a.Body, `"reason":"no_endpoint"`) {
						t.Errorf("body %q is no problem document", a.Body)
					}
				} else if a.Body != want {
					t.Errorf("body %q, want %q", a.Body, want)
				}
				if got := a.Header.Get("Content-Length"); got != strconv.Itoa(len(a.Body)) {
					t.Errorf("Content-Length %s of %d bytes", got, len(a.Body))
				}
			},
		}
	}
	middlewaretest.Run(t, env, allForms, cases{
		f("absent", "", jsonPage),
		f("empty", "\nAccept:", jsonPage),
		f("anything", "\nAccept: */*", jsonPage),
		f("any application", "\nAccept: application/*", jsonPage),
		f("any text", "\nAccept: text/*", textPage),
		f("html", "\nAccept: text/html", htmlPage),
		f("case and spaces", "\nAccept: \tText/HTML ; Q=0.5", htmlPage),
		f("a browser", "\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", htmlPage),
		f("quality", "\nAccept: text/html;q=0.4, text/plain;q=0.5", textPage),
		f("quality of three decimals", "\nAccept: text/html;q=0.401, text/plain;q=0.4", htmlPage),
		f("several lines", "\nAccept: text/html;q=0.4\nAccept: text/plain", textPage),
		f("excluded", "\nAccept: application/json;q=0, application/problem+json;q=0, */*", textPage),
		f("the exact name decides over the star", "\nAccept: text/html;q=0.1, text/*;q=0.5", textPage),
		f("of equals the exactly named", "\nAccept: text/html, */*", htmlPage),
		f("of equals and equally named JSON", "\nAccept: text/html, application/json", jsonPage),
		f("problem by name", "\nAccept: application/problem+json, */*;q=0.9", problem),
		f("nothing that there is", "\nAccept: image/png", problem),
		f("nothing at all", "\nAccept: */*;q=0", problem),
		f("malformed quality", "\nAccept: text/html;q=high, text/plain;q=0.1", textPage),
		f("quality above one", "\nAccept: text/html;q=1.5, text/plain;q=0.1", textPage),
		f("a comma in quotes", "\nAccept: image/png;a=\"\\\",text/html\", text/plain;q=0.1", textPage),
		f("charset", "\nAccept: text/html;charset=utf-8", htmlPage),
		f("a parameter is not quite the type", "\nAccept: text/html;level=1, text/plain", textPage),
		f("commas alone", "\nAccept: , ,", jsonPage),
	})
}

// A page of HTML is for who asks for HTML; programs get what they always got.
func TestErrorPagesWithoutJSON(t *testing.T) {
	env := broken(t, &gateway.Error{Status: 504, Reason: "timeout"})
	f := func(accept, want string) middlewaretest.Case {
		return middlewaretest.Case{
			Name: "accept " + accept, Request: "GET /\nAccept: " + accept, Status: 504, Reason: "timeout", To: "orders",
			Header: header{"Content-Type": want, "Vary": "Accept"},
		}
	}
	middlewaretest.Run(t, env, allForms, cases{
		f("", "application/problem+json"),
		f("*/*", "application/problem+json"),
		f("application/json, text/html;q=0.9", "application/problem+json"),
		f("application/json;q=0.5, text/html;q=0.9", "text/html; charset=utf-8"),
		f("text/plain", "application/problem+json"),
	})
}

func TestErrorPagesByStatus(t *testing.T) {
	f := func(status int, want string) {
		t.Helper()
		env := broken(t, &gateway.Error{Status: status, Reason: "r"})
		a := send(t, env, middlewaretest.Build(t, env, allForms), "GET /\nAccept: text/plain", &gateway.Exchange{})
		if a.Body != want || a.Status != status {
			t.Errorf("%d: %q, want %q", a.Status, a.Body, want)
		}
	}
	f(404, "404 Not Found: r\n")
	f(500, "500 Internal Server Error: r\n")
	f(503, "503 Service Unavailable: r\n")
	f(400, "400 Bad Request")
	f(418, "418 I'm a teapot")
	f(599, "599 Error")
}

// What the gateway says in the head of an error is said beside a page, too.
func TestErrorPagesKeepTheHead(t *testing.T) {
	env := broken(t, &gateway.Error{Status: 503, Reason: "r", RetryAfter: 1, Allow: "GET, PUT", Close: true})
	want := header{"Retry-After": "1", "Allow": "GET, PUT", "Connection": "close", "Content-Type": "text/html; charset=utf-8", "Content-Length": "41"}
	one := middlewaretest.Case{Name: "GET", Request: "GET /\nAccept: text/html", Status: 503, Reason: "r", To: "orders", Header: want}
	two := one
	two.Name, two.Request = "HEAD", "HEAD /\nAccept: text/html"
	two.Check = func(t testing.TB, a middlewaretest.Answer) {
		if a.Body != "" {
			t.Errorf("HEAD gets a body: %q", a.Body)
		}
	}
	grpc := middlewaretest.Case{
		Name: "gRPC", Request: "POST /\nAccept: text/html\nContent-Type: application/grpc", Status: 200, Reason: "r", To: "orders",
		Prepare: func(r *http.Request, _ *gateway.Exchange) { r.ProtoMajor = 2 },
		Header:  header{"Content-Type": "application/grpc", "Grpc-Status": "14", "Vary": ""},
	}
	middlewaretest.Run(t, env, allForms, cases{one, two, grpc})
}

// A value can end neither the markup nor the string that it stands in.
func TestErrorPagesEscape(t *testing.T) {
	env := broken(t, &gateway.Error{Status: 503, Reason: "r"})
	step := middlewaretest.Build(t, env, allForms)
	f := func(accept, want string) {
		t.Helper()
		a := send(t, env, step, "GET /\nAccept: "+accept, &gateway.Exchange{ID: `"</p><script>&\`})
		if a.Body != want {
			t.Errorf("%s: %q, want %q", accept, a.Body, want)
		}
		if strings.HasSuffix(accept, "json") && !json.Valid([]byte(a.Body)) {
			t.Errorf("%q is no JSON", a.Body)
		}
	}
	f("text/html", "<h1>503 Service Unavailable</h1><p>&#34;&lt;/p&gt;&lt;script&gt;&amp;\\")
	f("application/json", `{"code": 503, "why": "r", "id": "\"\u003c/p\u003e\u003cscript\u003e\u0026\\"}`)
}

func TestErrorPagesFromFiles(t *testing.T) {
	env := broken(t, &gateway.Error{Status: 503, Reason: "r"})
	env.Dir = t.TempDir()
	t.Chdir(env.Dir)
	if err := os.WriteFile(filepath.Join(env.Dir, "e.html"), []byte("<p>{status} { color } {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"e.html", filepath.Join(env.Dir, "e.html")} {
		a := send(t, env, middlewaretest.Build(t, env, "error_pages: {pages: [{html: {file: "+name+"}}]}"), "GET /\nAccept: text/html", &gateway.Exchange{})
		if a.Body != "<p>503 { color } {}" {
			t.Errorf("%s: %q", name, a.Body)
		}
	}
	if err := os.WriteFile(filepath.Join(env.Dir, "latin.html"), []byte("caf\xe9"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"1:37: the page is not UTF-8"}
	if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "error_pages: {pages: [{html: {file: latin.html}}]}")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestErrorPagesMistakes(t *testing.T) {
	env := broken(t, nil)
	env.Dir = t.TempDir()
	t.Chdir(env.Dir)
	f := func(settings string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "error_pages: {"+settings+"}")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", settings, diff)
		}
	}
	f(``, `1:1: "pages" is required`)
	f(`pages: []`, `1:15: names no page`)
	f(`pages: [{}]`, `1:23: has no form; give json, html or text`)
	f(`pages: [{html: ""}]`, `1:23: has no form; give json, html or text`, `1:30: is empty; write the text of the page, or {file: NAME}`)
	f(`pages: [{html: {}}]`, `1:23: has no form; give json, html or text`, `1:24: is empty; write the text of the page, or {file: NAME}`)
	f(`pages: [{html: {file: none.html}}]`, `1:37: stat none.html: no such file or directory`)
	f(`pages: [{statuses: [200], html: a}]`, `1:35: "200" is no error status; write for example 503, 502-504 or 5xx`)
	f(`pages: [{statuses: [600], html: a}]`, `1:35: "600" is no error status; write for example 503, 502-504 or 5xx`)
	f(`pages: [{statuses: [500-404], html: a}]`, `1:35: "500-404" is no error status; write for example 503, 502-504 or 5xx`)
	f(`pages: [{statuses: [2xx], html: a}]`, `1:35: "2xx" is no error status; write for example 503, 502-504 or 5xx`)
	f(`pages: [{statuses: [5xx], html: a}, {statuses: [500-599], html: b}]`, `1:51: is never used: pages before it have all of its statuses`)
	f(`pages: [{text: a}, {statuses: [404], text: b}]`, `1:34: is never used: pages before it have all of its statuses`)
	f(`pages: [{text: "{stauts}"}]`, `1:30: {stauts} is no field of a page; known are {status}, {title}, {reason} and {request_id}, and a word that is to stay in its braces gets a space before it`)
	f(`pages: [{json: "{\"a\": {reason}}"}, {statuses: [404], html: "{x}"}]`,
		`1:52: is never used: pages before it have all of its statuses`)
	f(`pages: [{json: "{\"a\": {reason}}"}]`, `1:30: the page is no JSON when its fields are filled in; those but {status} belong into quotes`)
}

func TestErrorPagesExplain(t *testing.T) {
	env := broken(t, nil)
	f := func(settings, want string) {
		t.Helper()
		if got := middlewaretest.Build(t, env, settings).Explain(middlewaretest.Request(t, "GET /"), &gateway.Exchange{}); got != want {
			t.Errorf("%s", got)
		}
	}
	f(allForms, "error answers have pages for 404, 500-503, 504, 400-599")
	f(`error_pages: {upstream: true, pages: [{text: a}]}`, "error answers have pages for 400-599, those of the upstream too")
}

// A request that does not fail pays nothing for its pages.
func TestErrorPagesBudget(t *testing.T) {
	env := broken(t, nil)
	h := middlewaretest.Build(t, env, allForms).Wrap(http.HandlerFunc(nothing))
	r := gateway.WithExchange(middlewaretest.Request(t, "GET /"), &gateway.Exchange{})
	w := &recorder{h: http.Header{}}
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzErrorPagesAccept(f *testing.F) {
	for _, accept := range []string{"text/html", "*/*;q=0.1, text/plain", `a/b;c="d\"`, ";;,,", "text/html;q=", "q=1"} {
		f.Add(accept)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		env := broken(t, &gateway.Error{Status: 503, Reason: "r"})
		r := middlewaretest.Request(t, "GET /")
		r.Header["Accept"] = []string{accept}
		a := middlewaretest.Send(t, env, middlewaretest.Build(t, env, allForms), r, &gateway.Exchange{})
		if a.Status != 503 || a.Body == "" || a.Header.Get("Content-Length") != strconv.Itoa(len(a.Body)) {
			t.Errorf("%d %q %v", a.Status, a.Body, a.Header)
		}
	})
}

// The pages of the top level are for what no route takes, those of a route for
// the rest; of the upstream's answers only errors give way, and only if told.
func TestWholeErrorPages(t *testing.T) {
	g := serveWhole(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Www-Authenticate", "Basic")
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Content-Encoding", "br")
		w.Header().Set("Trailer", "X-Sum")
		status := http.StatusOK
		if r.URL.Query().Has("fail") {
			status = http.StatusUnauthorized
		}
		if r.URL.Query().Has("stream") {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "the upstream's own words")
		w.Header().Set("X-Sum", "42")
	}, `{match: {host: a.example, prefix: /own}, to: up, use: [{error_pages: {upstream: true, pages: [{statuses: [401, 413], text: "own {status} {reason}"}]}}]}`,
		`{match: {host: a.example, prefix: /top}, to: up, body_limit: 1B}`,
		`{match: {host: a.example, prefix: /page}, to: up, use: [{error_pages: {upstream: true, pages: [{text: "own"}]}}, {respond: {status: 503, body: "ours"}}]}`+
			"\nerror_pages:\n  pages: [{statuses: [400-404, 413], text: 'top {status} {reason}'}]")
	f := func(name, target string, status int, want string, lines ...string) *http.Response {
		t.Helper()
		var res *http.Response
		t.Run(name, func(t *testing.T) {
			t.Helper()
			var body string
			res, body = g.ask(t, append([]string{target, "Accept: text/plain"}, lines...)...)
			g.got()
			if res.StatusCode != status || body != want {
				t.Errorf("%d %q, want %d %q", res.StatusCode, body, status, want)
			}
		})
		return res
	}
	const words = "the upstream's own words"
	f("no route", "GET /", 404, "top 404 no_route")
	f("refused before the match", "GET /own/%2e%2e", 400, "top 400 path_dots")
	f("refused before the chain", "POST /top", 413, "top 413 body_too_large", "Content-Length: 2")
	f("success stays", "GET /own", 200, words)
	f("the top level leaves the upstream alone", "GET /top?fail", 401, words)
	f("a stream stays", "GET /own?fail&stream", 401, words)
	f("a fixed answer stays", "GET /page", 503, "ours")
	res := f("of the upstream", "GET /own?fail", 401, "own 401 upstream_answer")
	want := header{
		"Retry-After": "7", "Www-Authenticate": "Basic", "Etag": "", "Content-Encoding": "", "Trailer": "", "Vary": "Accept",
		"Content-Type": "text/plain; charset=utf-8", "Content-Length": "23", "X-Content-Type-Options": "nosniff",
	}
	for name, want := range want {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	res = f("of the upstream, to HEAD", "HEAD /own?fail", 401, "")
	if res.Header.Get("Content-Length") != "23" || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("HEAD gets another head: %v", res.Header)
	}
}

// Statuses that a route's block does not list, and answers of the upstream that
// it leaves alone, fall back on the top level.
func TestWholeErrorPagesFallBack(t *testing.T) {
	g := serveWhole(t, func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.URL.RawQuery)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
	}, `{match: {prefix: /own}, to: up, use: [{error_pages: {pages: [{statuses: [503], text: "own {status} {reason}"}]}}]}`,
		`{match: {prefix: /both}, to: up, use: [{error_pages: {upstream: true, pages: [{statuses: [503], text: "own {status} {reason}"}]}}]}`,
		`{match: {prefix: /top}, to: up}`+"\nerror_pages: {upstream: true, pages: [{statuses: [500-503], text: 'top {status} {reason}'}]}")
	f := func(target, want string) {
		t.Helper()
		if res, body := g.ask(t, "GET "+target, "Accept: text/plain"); body != want {
			t.Errorf("%s: %d %q, want %q", target, res.StatusCode, body, want)
		}
		g.got()
	}
	f("/top?502", "top 502 upstream_answer")
	f("/own?502", "top 502 upstream_answer")
	f("/own?503", "top 503 upstream_answer")
	f("/both?503", "own 503 upstream_answer")
	f("/both?501", "top 501 upstream_answer")
	f("/both?504", "")
	f("/top?200", "")
}
