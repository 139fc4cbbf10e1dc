package build

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

// lineage is a configuration that is read again and again, and the snapshot in use.
type lineage struct {
	*process
	path  string
	files *config.Files
	snap  *Snapshot
}

// reload reads the files again and compiles what they say on top of the snapshot in
// use, which it replaces.
func (l *lineage) reload() (old, next *Snapshot) {
	l.t.Helper()
	var err error
	if l.files, err = l.files.Reread(l.path); err != nil {
		l.t.Fatal(err)
	}
	c, err := config.Parse(l.files)
	if err != nil {
		l.t.Fatal(err)
	}
	env := l.Env
	env.Old = l.snap
	if next, err = Compile(c, env); err != nil {
		l.t.Fatal(err)
	}
	next.Start()
	c.Offer()
	old, l.snap = l.snap, next
	return old, next
}

// says is what the snapshot answers at a path.
func says(s *Snapshot, path string) string {
	r := httptest.NewRequest(http.MethodGet, "http://a.example"+path, nil)
	x := &gateway.Exchange{Listener: "web"}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, gateway.WithExchange(r, x))
	return fmt.Sprintf("%d %s", w.Code, w.Body)
}

const reuseRoot = `include: [routes.*.yaml]
upstreams: {u: {discover: {static: {targets: ["127.0.0.1:1"]}}}}
middleware:
  tag: {headers: {response: {set: {X-Tag: "${REUSE_TAG:-one}"}}}}
  other: {headers: {response: {set: {X-Other: "1"}}}}
`

func newLineage(t *testing.T) *lineage {
	l := &lineage{process: newProcess(t)}
	l.write("page.html", []byte("first"))
	l.path = l.write("pithead.yaml", []byte(reuseRoot))
	l.write("routes.a.yaml", []byte(`routes:
  - {name: tagged, match: {path: /tagged}, use: [tag], to: u}
  - {name: bare, match: {path: /bare}, use: [security_headers], to: u}
  - {name: plain, match: {path: /plain}, use: [{respond: {body: plain}}]}
  - {name: filed, match: {path: /filed}, use: [{respond: {file: page.html}}]}
  - {match: {path: /unnamed}, use: [{respond: {body: unnamed}}]}
`))
	l.write("routes.b.yaml", []byte(`routes: [{name: env, match: {path: /env}, use: [{respond: {body: "${REUSE_BODY:-before}"}}]}]`))
	l.write("routes.c.yaml", []byte(`routes: [{name: last, match: {prefix: /}, use: [{respond: {body: last}}]}]`))
	l.reload()
	return l
}

// TestReuse changes one input of a route at a time: exactly the routes that it goes
// into are built again, and each answers as one that was built from nothing.
func TestReuse(t *testing.T) {
	always := "/unnamed env " // cannot be known to be the same before they are decoded
	for _, c := range []struct {
		name   string
		change func(t *testing.T, l *lineage)
		fresh  string // names of the routes that are built again
		says   map[string]string
	}{
		{"nothing", func(*testing.T, *lineage) {}, "", nil},
		{"another file", func(_ *testing.T, l *lineage) {
			l.write("routes.c.yaml", []byte(`routes: [{name: last, match: {prefix: /}, use: [{respond: {body: new}}]}]`))
		}, "last", map[string]string{"/x": "200 new", "/plain": "200 plain"}},
		{"a route before the others", func(_ *testing.T, l *lineage) {
			l.write("routes.0.yaml", []byte(`routes: [{name: zero, match: {path: /zero}, use: [{respond: {body: zero}}]}]`))
		}, "zero", map[string]string{"/zero": "200 zero", "/plain": "200 plain", "/x": "200 last", "/unnamed": "200 unnamed"}},
		{"the block that it names", func(t *testing.T, _ *lineage) { t.Setenv("REUSE_TAG", "two") }, "tagged", nil},
		{"a block under the name of a kind", func(_ *testing.T, l *lineage) {
			l.write("pithead.yaml", []byte(strings.Replace(reuseRoot, "  other:", "  security_headers:", 1)))
		}, "bare", map[string]string{"/plain": "200 plain"}},
		{
			"a file that it reads", func(_ *testing.T, l *lineage) { l.write("page.html", []byte("second")) },
			"filed",
			map[string]string{"/filed": "200 second"},
		},
		{"the environment", func(t *testing.T, _ *lineage) { t.Setenv("REUSE_BODY", "after") }, "", map[string]string{"/env": "200 after"}},
		{"its upstream", func(_ *testing.T, l *lineage) {
			l.write("pithead.yaml", []byte(strings.Replace(reuseRoot, "{u: {", "{u: {max_age: 1h, ", 1)))
		}, "bare tagged", nil},
		{"error pages", func(_ *testing.T, l *lineage) {
			l.write("pithead.yaml", []byte(reuseRoot+`error_pages: {pages: [{text: oops}]}`))
		}, "bare filed last plain tagged", nil},
		{"what is asked of the anatomy", func(_ *testing.T, l *lineage) {
			l.write("pithead.yaml", []byte(reuseRoot+`anatomy: {slow: 3s}`))
		}, "bare filed last plain tagged", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLineage(t)
			c.change(t, l)
			old, next := l.reload()
			was := make(map[*compiledRoute]bool)
			for _, r := range old.routes {
				was[r] = true
			}
			for _, r := range next.routes {
				want := strings.Contains(" "+always+c.fresh+" ", " "+r.name+" ")
				if fresh := !was[r]; fresh != want {
					t.Errorf("%s was built again: %t, want %t", r.name, fresh, want)
				}
			}
			l.close(old)
			for path, want := range c.says {
				if got := says(next, path); got != want {
					t.Errorf("%s says %q, want %q", path, got, want)
				}
			}
			_, again := l.reload() // on top of what has been taken over
			l.close(next)
			for path, want := range c.says {
				if got := says(again, path); got != want {
					t.Errorf("%s says %q after another reload, want %q", path, got, want)
				}
			}
			l.close(again)
			if n := l.Pool.Len(); n != 0 {
				t.Errorf("%d values are left", n)
			}
		})
	}
}

// TestReuseKeepsState: what a route has in keep lives as long as any snapshot has the
// route, whoever made it.
func TestReuseKeepsState(t *testing.T) {
	l := newLineage(t)
	l.write("routes.d.yaml", []byte(`routes: [{name: limited, match: {path: /limited}, use: [{rate_limit: {rate: 1/h}}, {respond: {body: ok}}]}]`))
	first, _ := l.reload()
	l.close(first)
	if got := says(l.snap, "/limited"); got != "200 ok" {
		t.Fatal(got)
	}
	for n := range 5 {
		l.write("routes.c.yaml", fmt.Appendf(nil, `routes: [{name: last, match: {prefix: /}, use: [{respond: {body: "%d"}}]}]`, n))
		old, next := l.reload()
		l.close(old)
		if got := says(next, "/limited"); !strings.HasPrefix(got, "429") {
			t.Errorf("after reload %d the limit is forgotten: %s", n, got)
		}
	}
	l.close(l.snap)
	if n := l.Pool.Len(); n != 0 {
		t.Errorf("%d values are left", n)
	}
}

// TestReuseHidesSecrets: each configuration knows by itself what it must not show.
func TestReuseHidesSecrets(t *testing.T) {
	l := newLineage(t)
	l.write("routes.d.yaml", []byte(`routes:
  - name: secret
    match: {path: /secret}
    use: [{jwt: {issuer: "https://id.example", audience: [shop], algorithms: [HS256], secret: "correct horse battery staple of 32 bytes"}}]
    to: u
`))
	for n := range 3 {
		old, next := l.reload()
		l.close(old)
		if text := string(next.Config.Redacted()); !strings.Contains(text, "issuer") || strings.Contains(text, "horse") {
			t.Errorf("reload %d shows the secret:\n%s", n, text)
		}
	}
	l.close(l.snap)
}

// TestReuseRefused: a configuration that is refused leaves the routes that it had
// taken over as they were.
func TestReuseRefused(t *testing.T) {
	l := newLineage(t)
	l.write("routes.c.yaml", []byte(`routes: [{name: last, match: {prefix: /}, use: [nobody]}]`))
	files, err := l.files.Reread(l.path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	env := l.Env
	env.Old = l.snap
	if _, err := Compile(c, env); err == nil || !strings.Contains(err.Error(), `routes.c.yaml:1:`) {
		t.Errorf("error %v, want one with its place", err)
	}
	if got := says(l.snap, "/plain"); got != "200 plain" {
		t.Error(got)
	}
	l.close(l.snap)
	if n := l.Pool.Len(); n != 0 {
		t.Errorf("%d values are left", n)
	}
}
