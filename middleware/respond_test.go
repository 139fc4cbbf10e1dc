package middleware_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// body is a check of the body.
func body(want string) func(testing.TB, middlewaretest.Answer) {
	return func(t testing.TB, a middlewaretest.Answer) {
		if a.Body != want {
			t.Errorf("the body is %q, want %q", a.Body, want)
		}
		if a.Exchange.Upstream != "" || a.Exchange.Cluster != nil {
			t.Errorf("the exchange names the upstream %s", a.Exchange.Upstream)
		}
	}
}

func TestRespond(t *testing.T) {
	env, cluster := orders(t)
	const nowhere = middlewaretest.Nowhere
	middlewaretest.Run(t, env, "respond: {status: 503, body: \"noon\\n\", retry_after: 1500ms, headers: {x-a: b, cache-control: no-store}}", cases{
		{Name: "GET", Status: 503, To: nowhere, Check: body("noon\n"), Header: header{
			"Content-Type": "text/plain; charset=utf-8", "Content-Length": "5", "Retry-After": "2", "X-A": "b", "Cache-Control": "no-store",
			"X-Content-Type-Options": "nosniff",
		}},
		{Name: "POST", Request: "POST /\n\nbody", Status: 503, To: nowhere, Check: body("noon\n")},
		{Name: "HEAD", Request: "HEAD /", Status: 503, To: nowhere, Check: body(""), Header: header{
			"Content-Type": "text/plain; charset=utf-8", "Content-Length": "5", "Retry-After": "2", "X-A": "b",
		}},
	})
	middlewaretest.Run(t, env, "respond: {body: \"{}\", content_type: application/json}", cases{
		{Name: "by default 200", To: nowhere, Check: body("{}"), Header: header{"Content-Type": "application/json", "Retry-After": ""}},
	})
	middlewaretest.Run(t, env, "respond: {status: 404}", cases{
		{Name: "no body", Status: 404, To: nowhere, Check: body(""), Header: header{"Content-Type": "", "Content-Length": "0"}},
	})
	for _, status := range []string{"204", "205", "304"} {
		middlewaretest.Run(t, env, "respond: {status: "+status+"}", cases{
			{Name: status, Status: number(t, status), To: nowhere, Check: body(""), Header: header{"Content-Length": "", "Content-Type": ""}},
		})
	}
	middlewaretest.Run(t, env, "respond", cases{{Name: "by its name alone", To: nowhere, Check: body("")}})
	if _, count := cluster.Last(); count != 0 {
		t.Errorf("the upstream was asked %d times", count)
	}
}

func number(t *testing.T, s string) (n int) {
	t.Helper()
	for _, c := range s {
		n = 10*n + int(c-'0')
	}
	return n
}

func write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRespondFile(t *testing.T) {
	env, _ := orders(t)
	f := func(name, settings, want string) {
		t.Run(name, func(t *testing.T) {
			path := write(t, name, "text of "+name)
			env := env
			t.Chdir(filepath.Dir(path))
			for _, file := range []string{name, path} {
				step := middlewaretest.Build(t, env, "respond: {file: "+file+settings+"}")
				if err := os.WriteFile(path, []byte("changed"), 0o600); err != nil {
					t.Fatal(err)
				}
				a := send(t, env, step, "GET /", &gateway.Exchange{})
				if got := a.Header.Get("Content-Type"); got != want || a.Body != "text of "+name {
					t.Errorf("%s: type %s, body %q", file, got, a.Body)
				}
				if err := os.WriteFile(path, []byte("text of "+name), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	f("page.html", "", "text/html; charset=utf-8")
	f("page.HTM", "", "text/html; charset=utf-8")
	f("a.json", "", "application/json")
	f("a.xml", "", "application/xml")
	f("a.css", "", "text/css; charset=utf-8")
	f("a.js", "", "text/javascript; charset=utf-8")
	f("a.svg", "", "image/svg+xml")
	f("robots.txt", "", "text/plain; charset=utf-8")
	f("page", ", content_type: text/html", "text/html")
	path := write(t, "large", strings.Repeat("x", 1<<20))
	middlewaretest.Run(t, env, "respond: {file: "+path+"}", cases{
		{Name: "1MiB", To: middlewaretest.Nowhere, Header: header{"Content-Length": itoa(1 << 20)}},
	})
}

func TestRespondExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "respond: {status: 503, body: noon}")
	x := &gateway.Exchange{Cluster: env.To, Upstream: "orders", Arm: "canary"}
	if got := step.Explain(middlewaretest.Request(t, "GET /"), x); got != "answers 503 with 4 bytes" || x.Status != 503 || x.Upstream+x.Arm != "" || x.Cluster != nil {
		t.Errorf("%s: %+v", got, x)
	}
}

func TestRespondMistakes(t *testing.T) {
	env, _ := orders(t)
	env.Dir = t.TempDir()
	t.Chdir(env.Dir)
	f := func(settings string, want ...string) {
		t.Helper()
		got := middlewaretest.Mistakes(t, env, "respond:\n  "+settings+"\n")
		for i := range got {
			got[i] = strings.ReplaceAll(got[i], env.Dir, "DIR")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", settings, diff)
		}
	}
	f("status: 101", "2:11: 101 is not from 200 to 599")
	f("status: 600", "2:11: 600 is not from 200 to 599")
	f("{status: 204, body: x}", "2:12: an answer with status 204 has no body")
	f("{status: 304, file: x}", "2:12: an answer with status 304 has no body")
	f("{body: x, file: y}", "2:19: body and file exclude each other")
	f("content_type: text/html", "2:17: is of no use without a body or a file")
	f(`{body: x, content_type: "a\nb"}`, "2:27: the value begins or ends with a space, or holds a control character")
	f("headers: {content-type: text/html, a b: c, connection: close}",
		"2:27: has a setting of its own, content_type", `2:43: "a b" is no name of a header`,
		"2:58: connection belongs to the connection or frames the message, and is the gateway's own")
	f("{retry_after: 1s, headers: {retry-after: 2}}", "2:44: is given by retry_after already")
	f("retry_after: 30", "2:16: the duration 30 has no unit; write for example 30ms, 30s or 30m")
	f("file: missing.html", "2:9: stat missing.html: no such file or directory")
	f("file: .", "2:9: . is no regular file")
	for name, text := range map[string]string{"empty": "", "large": strings.Repeat("x", 1<<20+1)} {
		if err := os.WriteFile(filepath.Join(env.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f("file: empty", "2:9: empty is empty")
	f("file: large", "2:9: large is larger than 1MiB")
}

func TestRespondBudget(t *testing.T) {
	if n := testing.AllocsPerRun(100, pass(t, "respond: {status: 503, body: noon, retry_after: 1s, headers: {x-a: b}}", "GET /")); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
