package middleware_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// along is the environment of a route whose path is a template.
func along(t testing.TB, path string) middleware.Env {
	t.Helper()
	env, _ := orders(t)
	env.Match.Path = path
	return env
}

func TestRewriteTemplate(t *testing.T) {
	f := func(name, template, to, path, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			env := along(t, template)
			a := send(t, env, middlewaretest.Build(t, env, `rewrite: {path: "`+to+`"}`), "GET "+path, &gateway.Exchange{})
			if want == "" {
				if a.Sent != nil || a.Status != http.StatusBadRequest {
					t.Errorf("answered %d, want 400", a.Status)
				}
				return
			}
			if a.Sent == nil || a.Sent.URL.RequestURI() != want {
				t.Errorf("answered %d: upstream got %v, want %s", a.Status, a.Sent, want)
			}
		})
	}
	f("one", "/v1/orders/{id}", "/orders/{id}/v2", "/v1/orders/7?x=1", "/orders/7/v2?x=1")
	f("several, turned round", "/{a}/{b}/c", "/{b}/{a}", "/1/2/c", "/2/1")
	f("twice", "/{a}", "/{a}/{a}", "/1", "/1/1")
	f("within a segment", "/{a}", "/x-{a}.json", "/1", "/x-1.json")
	f("part of a segment", "/files/{name}.{ext}", "/{ext}/{name}", "/files/a.b.gz", "/gz/a.b")
	f("with a pattern", "/v{version:[0-9]{1,2}}/{id:[a-z]+}", "/{id}/{version}", "/v12/ab", "/ab/12")
	f("a value stays encoded", "/o/{id}", "/{id}/x", "/o/caf%C3%A9%20(a,b)%3A", "/caf%C3%A9%20(a,b)%3A/x")
	f("part of an encoded segment", "/o/{id}-{rest}", "/{rest}/{id}", "/o/%C3%A9%20a-%2B%C3%BC", "/%2B%C3%BC/%C3%A9%20a")
	f("an encoded slash stays in its segment", "/o/{id}", "/{id}/x", "/o/a%2Fb", "/a%2Fb/x")
	f("an encoded slash in part of a segment", "/o/{id}.x", "/{id}", "/o/a%2Fb.x", "/a%2Fb")
	f("a literal that the template spells otherwise", "/caf%C3%A9/{id}", "/{id}", "/caf%C3%A9/7", "/7")
	f("a literal that the template has decoded", "/café/{id}", "/{id}", "/caf%C3%A9/7", "/7")
	f("dots made of two values", "/o/{a}-{b}", "/{a}{b}/x", "/o/.-.", "")
	f("dots made beside a text", "/o/{a}-x", "/.{a}", "/o/.-x", "")
	f("a path of an earlier rewrite", "/v1/orders/{id}", "/orders/{id}", "/v2/orders/7", "/v2/orders/7")
	f("a shorter path of an earlier rewrite", "/v1/orders/{id}", "/orders/{id}", "/v1", "/v1")
	f("a longer path of an earlier rewrite", "/v1/{id}", "/orders/{id}", "/v1/7/8", "/v1/7/8")
	f("an empty segment of an earlier rewrite", "/v1/{id}", "/orders/{id}", "/v1/", "/v1/")
}

func TestRewriteTemplateMistakes(t *testing.T) {
	f := func(template, to, want string) {
		t.Helper()
		got := middlewaretest.Mistakes(t, along(t, template), `rewrite: {path: "`+to+`"}`)
		if diff := cmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("%s to %s (-want +got):\n%s", template, to, diff)
		}
	}
	f("/v1/{id}/{item}", "/{ident}", "1:17: {ident} is no parameter of /v1/{id}/{item}; it has {id}, {item}")
	f("/v1", "/{id}", `1:17: {id}: the match of route "test" has no path with parameters`)
	f("", "/{id}", `1:17: {id}: the match of route "test" has no path with parameters`)
	f("/v1/{id:[0-9]+}", "/{id:[0-9]+}", "1:17: {id:[0-9]+}: the pattern stands in the match; write {id} here")
	f("/v1/{id}", "/{}", "1:17: {} names no parameter")
	f("/v1/{id}", "/{id", `1:17: "/{id": braces must come in pairs; %7B and %7D are literal ones`)
	f("/v1/{id}", "{id}", `1:17: "x" cannot be the path of a request: the path does not begin with a slash`)
	f("/v1/{id}", "/a//{id}", `1:17: "/a//x" is not canonical; write /a/x`)
}

func TestRewriteTemplateExplain(t *testing.T) {
	step := middlewaretest.Build(t, along(t, "/v1/{id}"), `rewrite: {path: "/{id}"}`)
	if got := step.Explain(middlewaretest.Request(t, "GET /v1/7"), &gateway.Exchange{}); got != "path /v1/7 becomes /7" {
		t.Error(got)
	}
}

// A parameter that is only part of its segment costs what regexp needs on top.
func TestRewriteTemplateBudget(t *testing.T) {
	h := middlewaretest.Build(t, along(t, "/v1/orders/{id}"), `rewrite: {path: "/orders/{id}/v2"}`).Wrap(http.HandlerFunc(nothing))
	r, w := gateway.WithExchange(middlewaretest.Request(t, "GET /v1/orders/7"), &gateway.Exchange{}), discard{http.Header{}}
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n != 2 {
		t.Errorf("%v allocations, want 2: the request and its path", n)
	}
}

// A redirect has the same parameters.
func TestRedirectTemplate(t *testing.T) {
	middlewaretest.Run(t, along(t, "/old/{id}"), `redirect: {path: "/new/{id}"}`, cases{{
		Name: "one", Request: "GET /old/a%2Fb?x=1", Status: 302, To: middlewaretest.Nowhere,
		Header: header{"Location": "https://api.example.com/new/a%2Fb?x=1"},
	}})
}

// The route and the rewrite agree about what a parameter is, or every request
// of the route would keep its path.
func TestWholeRewriteTemplate(t *testing.T) {
	g := serveWhole(t, nothing,
		`{match: {path: "/v1/{kind:[a-z]+}/{id}.{ext}"}, to: up, allow_encoded: [slash], use: [{rewrite: {path: "/{ext}/{id}/{kind}"}}]}`)
	f := func(target, want string) {
		t.Helper()
		res, _ := g.ask(t, "GET "+target)
		if r := g.got(); res.StatusCode != 200 || r == nil || r.RequestURI != want {
			t.Errorf("%s: %d, upstream got %v", target, res.StatusCode, r)
		}
	}
	f("/v1/orders/7.json?a=1", "/json/7/orders?a=1")
	f("/v1//orders/%37%2f8.%6ason", "/json/7%2F8/orders")
}

// Whatever comes, the new path is made of the template's text and of what was
// in the old one, segment by segment.
func FuzzRewriteTemplate(f *testing.F) {
	for _, path := range []string{"/v1/7-8", "/v1/%2F-%2e", "/v1/-", "/v1/%C3%A9-x", "/v1/a/b"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		canonical, _, err := canon.Path(path, canon.AnyEncoded)
		if err != nil {
			return
		}
		u := &url.URL{}
		canon.SetPath(u, canonical)
		env := along(t, "/v1/{a}-{b}")
		r := middlewaretest.Request(t, "GET /")
		r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
		a := middlewaretest.Send(t, env, middlewaretest.Build(t, env, `rewrite: {path: "/x/{b}/{a}"}`), r, &gateway.Exchange{})
		if a.Sent == nil {
			return
		}
		got := a.Sent.URL.EscapedPath()
		head, ok := strings.CutPrefix(canonical, "/v1/")
		if i := strings.LastIndex(head, "-"); ok && i > 0 && i < len(head)-1 && !strings.Contains(head, "/") {
			if want := "/x/" + head[i+1:] + "/" + head[:i]; got != want {
				t.Errorf("%s became %s, want %s", canonical, got, want)
			}
		} else if got != canonical {
			t.Errorf("%s became %s", canonical, got)
		}
	})
}
