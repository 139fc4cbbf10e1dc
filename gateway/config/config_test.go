package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse(FilesOf("x.yaml", []byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGood(t *testing.T) {
	names, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			c, err := Load(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Warnings) > 0 {
				t.Errorf("warnings: %v", c.Warnings)
			}
			if len(c.doc.secrets) > 0 {
				return
			}
			again, err := Parse(FilesOf(name, c.Redacted()))
			if err != nil {
				t.Fatalf("written out: %v", err)
			}
			if c.Fingerprint(&c.Root) != again.Fingerprint(&again.Root) {
				t.Errorf("written out it means something else:\n%s", c.Redacted())
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c := parse(t, shortest)
	web, a, r := c.Listeners["web"], c.Upstreams["a"], c.Routes[0]
	for _, one := range []struct{ got, want any }{
		{len(c.Listeners), 1},
		{web.Address, ":8080"},
		{fmt.Sprint(web.Protocols), "[h1]"},
		{web.Limits.HeaderBytes, 16 * kind.KiB},
		{web.Timeouts.Idle, 75 * time.Second},
		{c.Admin.Address, "127.0.0.1:9901"},
		{c.AccessLog, AccessLog{Output: "stdout", Format: "json"}},
		{c.Reload.Watch, true},
		{c.Shutdown.Grace, 25 * time.Second},
		{a.Protocol, "http"},
		{a.Balance.Kind, "round_robin"},
		{a.Balance.Pos().String(), "x.yaml:1:13"},
		{a.Timeouts.StreamIdle, time.Hour},
		{a.MaxIdle, 64},
		{a.Health == nil, true},
		{r.Name, "/*"},
		{r.Timeout, 300 * time.Second},
		{r.BodyLimit, 10 * kind.MiB},
		{c.Consul == nil, true},
	} {
		if one.got != one.want {
			t.Errorf("got %v, want %v", one.got, one.want)
		}
	}
	c = parse(t, shortest+"listeners: {s: {address: ':1', tls: {certificates: [{cert: a, key: b}]}}}\n")
	if s := c.Listeners["s"]; s.TLS.MinVersion != "1.2" || fmt.Sprint(s.Protocols) != "[h1 h2]" || s.Limits.Streams != 100 {
		t.Errorf("a TLS listener has %+v, %+v", s, s.TLS)
	}
}

func TestHealthTimeout(t *testing.T) {
	f := func(settings string, want time.Duration) {
		t.Helper()
		c := parse(t, "upstreams: {a: {discover: {static: {}}, health: {path: /h"+settings+"}}}\n"+routeFile)
		if got := c.Upstreams["a"].Health.Timeout; got != want {
			t.Errorf("%s: got %v, want %v", settings, got, want)
		}
	}
	f("", 3*time.Second)
	f(", interval: 1s", time.Second)
	f(", interval: 1m", 3*time.Second)
	f(", interval: 1s, timeout: 500ms", 500*time.Millisecond)
	f(", interval: 1m, timeout: 10s", 10*time.Second)
}

// What comes with an error is looked through by others, who would tell it again.
func TestComplainedOfOnce(t *testing.T) {
	text := "upstreams: {a: {discover: {static: {}}}}\nroutes: [{match: {prefix: /}, to: a, allow_encoded: [slashes, slash]}]\n"
	c, err := Parse(FilesOf("x.yaml", []byte(text)))
	if err == nil || !slices.Equal(c.Routes[0].AllowEncoded, []string{"slash"}) {
		t.Errorf("left is %q, %v", c.Routes[0].AllowEncoded, err)
	}
}

func TestRouteNames(t *testing.T) {
	c := parse(t, `upstreams: {a: {discover: {static: {}}}}
routes:
- {match: {host: api.example.com, path: "/v1/orders/{id}"}, to: a}
- {match: {prefix: /v1}, to: a}
- {match: {prefix: /v1/, methods: [GET, HEAD]}, to: a}
- {match: {prefix: /v1, headers: {x: y}}, to: a}
- {match: {path_regex: "^/x", hosts: [b.example]}, to: a}
- {match: {path: '/v2/{id:[0-9]{3}}/{rest:a\?b}'}, to: a}
- {match: {path: "/v2/{id}/{rest}"}, to: a}
- {match: {prefix: /}, to: a, name: own}
`)
	var names []string
	for _, r := range c.Routes {
		names = append(names, r.Name)
	}
	want := []string{"api.example.com/v1/orders/{id}", "/v1/*", "/v1/* GET,HEAD", "/v1/* #2", "b.example~^/x", `/v2/{id:[0-9]{3}}/{rest:a\?b}`, "/v2/{id}/{rest}", "own"}
	if !slices.Equal(names, want) {
		t.Errorf("got  %q\nwant %q", names, want)
	}
}

func TestPos(t *testing.T) {
	c := parse(t, `upstreams:
  orders:
    discover: {static: {}}
    arms:
      canary: {tag: c}
    health: {path: /h, statuses: [200, 204]}
    tls: {certificate: {cert: a, key: b}}
    protocol: https
routes:
  - name: one
    match:
      hosts: [a.example, b.example]
      prefix: /
    to: orders
listeners:
  web: {address: ":1", limits: {streams: 5}}
`)
	u, r, l := c.Upstreams["orders"], c.Routes[0], c.Listeners["web"]
	f := func(field any, want string) {
		t.Helper()
		if got := strings.TrimPrefix(c.Pos(field).String(), "x.yaml:"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(u, "2:3")
	f(&u.Discover, "3:5")
	f(u.Discover, "3:16")
	f(u.Arms["canary"], "5:7")
	f(&u.Arms["canary"].Tag, "5:21")
	f(&u.Health.Statuses[1], "6:40")
	f(&u.Health.Interval, "6:5") // not written: where the check stands
	f(&u.TLS.Certificate.Key, "7:39")
	f(&u.Host, "2:3")
	f(&u.Timeouts.Idle, "2:3")
	f(r, "10:5")
	f(&r.Name, "10:11")
	f(&r.Match, "11:5")
	f(&r.Match[0], "11:5")
	f(&r.Match[0].Host, "11:5")
	f(&r.Match[0].Hosts[1], "12:26")
	f(&r.To, "14:9")
	f(&r.Use, "10:5")
	f(&c.Routes, "9:1")
	f(&l.Limits, "16:24")
	f(&l.Limits.Streams, "16:42")
	f(&l.Timeouts, "16:3")
	f(&c.Root, "1:1")
	f(nil, "1:1")
	f(new(int), "1:1")
}

func TestErrorf(t *testing.T) {
	t.Setenv("PITHEAD_TEST_TO", "orders")
	c := parse(t, "upstreams: {orders: {discover: {static: {}}}}\nroutes:\n- match: {prefix: /}\n  to: ${PITHEAD_TEST_TO}\n")
	cause := errors.New("cause")
	e := c.Errorf(&c.Routes[0].To, "upstream %q is no good: %w", c.Routes[0].To, cause)
	want := "x.yaml:4:7: upstream \"orders\" is no good: cause\n  to: ${PITHEAD_TEST_TO}\n      ^"
	if e.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", e.Error(), want)
	}
	if !errors.Is(e, cause) {
		t.Error("the cause is lost")
	}
}

func TestFingerprint(t *testing.T) {
	t.Setenv("PITHEAD_TEST_TIME", "5s")
	base := "upstreams: {a: {discover: {static: {}}, host: h, timeouts: {idle: 5s, connect: 1s}}}\nroutes: [{match: {prefix: /}, to: a}]\n"
	print := func(text string) string {
		c := parse(t, text)
		return c.Fingerprint(c.Upstreams["a"])
	}
	f := func(text string, same bool) {
		t.Helper()
		if got := print(text) == print(base); got != same {
			t.Errorf("equal: %v\n%s", got, text)
		}
	}
	f("# moved\n"+base, true)
	f(strings.Replace(base, "{idle: 5s, connect: 1s}", "{connect: 1s, idle: '5s'}", 1), true)
	f(strings.Replace(base, "5s", "'${PITHEAD_TEST_TIME}'", 1), true)
	f(strings.Replace(base, "prefix: /", "prefix: /x", 1), true)
	f(strings.Replace(base, "5s", "6s", 1), false)
	f(strings.Replace(base, "host: h, ", "", 1), false)
	f(strings.Replace(base, "{static: {}}", "{static: {x: y}}", 1), false)
	c := parse(t, base)
	if c.Fingerprint(&c.Upstreams["a"].Health) != c.Fingerprint(&c.Reload) {
		t.Error("two settings that are not written differ")
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"rate_limit", "canary", "jwt", "cors"}
	f := func(name, want string) {
		t.Helper()
		if got := nearest(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	f("ratelimit", "rate_limit")
	f("rate-limit", "rate_limit")
	f("canray", "canary")
	f("JWT", "jwt")
	f("jw", "jwt")
	f("x", "")
	f("completely", "")
	f(strings.Repeat("rate_limit", 1000), "")
	if got := Suggest("ratelimit", known); got != ` (did you mean "rate_limit"?)` {
		t.Error(got)
	}
}

func TestCaretBelowTabs(t *testing.T) {
	e := &Error{Pos: Pos{"x.yaml", 1, 4}, Msg: "no", Source: "\t\tab", caret: 3}
	if want := "x.yaml:1:4: no\n\t\tab\n\t\t ^"; e.Error() != want {
		t.Errorf("got  %q\nwant %q", e.Error(), want)
	}
}

func TestLongLine(t *testing.T) {
	_, err := Parse(FilesOf("x.yaml", []byte(shortest+"admin: {hosts: ["+strings.Repeat("abcdefgh, ", 50_000)+"\"a:b\"]}\n")))
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != 3 || len(lines[1]) > 200 {
		t.Fatalf("%.300s", lines[0])
	}
	if at := strings.Index(lines[2], "^"); !strings.HasPrefix(string([]rune(lines[1])[at:]), `"a:b"`) {
		t.Errorf("the caret points elsewhere:\n%s\n%s", lines[1], lines[2])
	}
}
