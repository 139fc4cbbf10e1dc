package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// tree writes files into a fresh folder, which becomes the working folder.
func tree(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	upstreamFile = "upstreams: {a: {discover: {static: {}}}}\n"
	routeFile    = "routes: [{match: {prefix: /}, to: a}]\n"
)

func TestRead(t *testing.T) {
	tree(t, map[string]string{
		"pithead.yaml":         "include: [routes.d/*.yaml, more.yaml, none/*.yaml, routes.d/b.yaml]\n",
		"routes.d/b.yaml":      upstreamFile,
		"routes.d/a.yaml":      routeFile,
		"routes.d/.#a.yaml":    "an editor's lock",
		"routes.d/a.yaml.orig": "not ours",
		"more.yaml":            "middleware: {m: {cors: {}}}\n",
	})
	f, err := Read("pithead.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pithead.yaml", "routes.d/a.yaml", "routes.d/b.yaml", "more.yaml"}, f.Names()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{".", "none", "routes.d"}, f.Dirs()); diff != "" {
		t.Error(diff)
	}
	c, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Pos(&c.Routes[0].To).String(); got != "routes.d/a.yaml:1:35" {
		t.Errorf("the route leads to its upstream at %s", got)
	}
	if got := c.Upstreams["a"].Discover.Dir(); got != "routes.d" {
		t.Errorf("the block's folder is %s", got)
	}

	again, err := f.Reread("pithead.yaml")
	if err != nil || again.Sum() != f.Sum() {
		t.Errorf("reading again makes a difference: %v", err)
	}
	if err := os.WriteFile("routes.d/c.yaml", []byte("upstreams: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err = again.Reread("pithead.yaml")
	if err != nil || again.Sum() == f.Sum() || !slices.Contains(again.Names(), "routes.d/c.yaml") {
		t.Errorf("a new file goes unnoticed: %v %q", err, again.Names())
	}
	if err := os.WriteFile("pithead.yaml", []byte("include: [more.yaml]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err = again.Reread("pithead.yaml")
	if err != nil || len(again.Names()) != 2 {
		t.Errorf("a new include goes unnoticed: %v %q", err, again.Names())
	}
}

func TestReadMistakes(t *testing.T) {
	if _, err := Read(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	f := func(files map[string]string, wants ...string) {
		t.Helper()
		tree(t, files)
		_, err := Load("p.yaml")
		errs, _ := errors.AsType[Errors](err)
		var got []string
		for _, e := range errs {
			got = append(got, fmt.Sprintf("%v: %s", e.Pos, e.Msg))
		}
		if diff := cmp.Diff(wants, got); diff != "" {
			t.Error(diff)
		}
	}
	f(map[string]string{"p.yaml": "include: [gone.yaml]\n" + upstreamFile + routeFile},
		"p.yaml:1:11: include: stat gone.yaml: no such file or directory")
	f(map[string]string{"p.yaml": "include: [d]\n" + upstreamFile + routeFile, "d/x": ""},
		"p.yaml:1:11: include: read d: not a regular file")
	f(map[string]string{"p.yaml": "include: ['[']\n" + upstreamFile + routeFile},
		`p.yaml:1:11: include: bad pattern "[": syntax error in pattern`)
	f(map[string]string{"p.yaml": "include: [r.yaml]\n" + upstreamFile + routeFile, "r.yaml": "listeners: {}\nroutez: []\n" + upstreamFile + "middleware: []\nroutes: {}\n"},
		"r.yaml:1:1: a route file holds only upstreams, middleware and routes, not \"listeners\"; it belongs into the process file",
		"r.yaml:2:1: a route file holds only upstreams, middleware and routes, not \"routez\" (did you mean \"routes\"?)",
		"r.yaml:3:13: upstream \"a\" is defined a second time; the first is at p.yaml:2:13",
		"r.yaml:4:1: middleware: want a map, not a list",
		"r.yaml:5:1: routes: want a list, not a map")
	f(map[string]string{"p.yaml": "include: [r.yaml, s.yaml]\n" + upstreamFile + routeFile, "r.yaml": "", "s.yaml": "a: [\n"},
		"r.yaml:1:1: the file is empty", "s.yaml:1:4: invalid YAML: sequence end token ']' not found")
	f(map[string]string{"p.yaml": "include: [r.yaml]\n" + upstreamFile + routeFile, "r.yaml": routeFile},
		"r.yaml:1:11: this route matches the same requests as the one at p.yaml:3:11")
	f(map[string]string{"p.yaml": "include: r.yaml\n" + upstreamFile + routeFile},
		"p.yaml:1:10: include: want a list, not text; write [r.yaml]")

	tree(t, map[string]string{"p.yaml": "include: [pipe]\n" + upstreamFile + routeFile})
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("p.yaml"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err) // and above all it returned
	}
}

func TestIncludeOfItself(t *testing.T) {
	tree(t, map[string]string{"p.yaml": "include: ['*.yaml', './p.yaml']\n" + upstreamFile, "r.yaml": routeFile})
	if err := os.Symlink("r.yaml", "s.yaml"); err != nil {
		t.Fatal(err)
	}
	f, err := Read("p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"p.yaml", "r.yaml"}, f.Names()); diff != "" {
		t.Error(diff)
	}
	if _, err := Parse(f); err != nil {
		t.Error(err)
	}
}

func TestIdle(t *testing.T) {
	f := func(text string, wants ...string) {
		t.Helper()
		tree(t, map[string]string{"p.yaml": text, "r.d/.hidden.yaml": "", "s.d/s.yaml": "upstreams: {b: {discover: {static: {}}}}\n"})
		c, err := Load("p.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range c.Warnings {
			got = append(got, fmt.Sprintf("%v: %s", w.Pos, w.Msg))
		}
		if diff := cmp.Diff(wants, got); diff != "" {
			t.Error(diff)
		}
	}
	f("include: [r.d/*.yaml, s.d/*.yaml]\n"+upstreamFile+routeFile, "p.yaml:1:11: include: no file matches r.d/*.yaml")
	f(upstreamFile, "p.yaml:1:1: there are no routes, so every request is answered with 404")
	f("include: [s.d/*.yaml]\n"+upstreamFile+"routes: []\n", "p.yaml:3:1: there are no routes, so every request is answered with 404")
}

// C12: expansion happens once, in values, when the file is loaded.
func TestExpand(t *testing.T) {
	tree(t, map[string]string{"secret": "from file\n", "dir/two": "a\nb\n\n"})
	t.Setenv("A", "value")
	t.Setenv("EMPTY", "")
	t.Setenv("NESTED", "${A}")
	t.Setenv("YAML", "x, injected: [1]\nmore: yes")
	f := func(in, want string) {
		t.Helper()
		n := &node{file: &sourceFile{name: "p.yaml", data: []byte("x")}, raw: in, text: in}
		err := expandAll(n)
		if err != nil {
			n.text = "error: " + err.Error()
		}
		if n.text != want {
			t.Errorf("%s: got %q, want %q", in, n.text, want)
		}
	}
	f("plain", "plain")
	f("${A}", "value")
	f("a${A}b${A}", "avaluebvalue")
	f("${EMPTY}", "")
	f("${EMPTY:-x}", "x")
	f("${NONE_SUCH:-}", "")
	f("${NONE_SUCH:-a b}", "a b")
	f("${NESTED}", "${A}")
	f("${YAML}", "x, injected: [1]\nmore: yes")
	f("$A $ $1 ^a$", "$A $ $1 ^a$")
	f("$$ $${A} $$${A}", "$ ${A} $value")
	f("${file:secret}", "from file")
	f("${file:dir/two}", "a\nb\n")
	f("${NONE_SUCH}", "error: the environment variable NONE_SUCH is not set; ${NONE_SUCH:-default} gives it a default")
	f("${}", "error: ${} is no name of a variable; write $${ for the characters themselves")
	f("${1A}", "error: ${1A} is no name of a variable; write $${ for the characters themselves")
	f("${A", "error: ${ has no closing brace; write $${ for the characters themselves")
	f("${file:}", "error: ${file:}: names no file")
	f("${file:none}", "error: ${file:none}: stat none: no such file or directory")
	f("${file:dir}", "error: ${file:dir}: read dir: not a regular file")
	f("${file:/dev/null}", "error: ${file:/dev/null}: leads into /dev")

	c := parse(t, shortest+"access_log: {output: \"${YAML}\"}\n")
	if c.AccessLog.Output != "x, injected: [1]\nmore: yes" {
		t.Errorf("got %q", c.AccessLog.Output)
	}
	for name, data := range map[string]string{"nul": "a\x00b", "utf8": "\xff", "big": strings.Repeat("x", maxSecretFile+1)} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		n := &node{file: &sourceFile{name: "p.yaml"}, raw: "${file:" + name + "}"}
		if err := expandAll(n); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := os.Symlink("/proc/self/environ", "link"); err != nil {
		t.Fatal(err)
	}
	f("${file:link}", "error: ${file:link}: leads into /proc")
}

// C14: a secret that others can read works, but is complained of.
func TestExposedSecret(t *testing.T) {
	tree(t, map[string]string{"secret": "hush hush\n"})
	text := shortest + "admin: {token: \"${file:secret}\"}\naccess_log: {output: \"${file:secret}\"}\n"
	c := parse(t, text)
	if len(c.Warnings) != 0 || c.Admin.Token != "hush hush" {
		t.Errorf("%q, warnings %v", c.Admin.Token.Reveal(), c.Warnings)
	}
	if err := os.Chmod("secret", 0o644); err != nil {
		t.Fatal(err)
	}
	c = parse(t, text)
	if len(c.Warnings) != 1 || c.Warnings[0].Pos != (Pos{"x.yaml", 4, 16}) || !strings.Contains(c.Warnings[0].Msg, "chmod o-r") {
		t.Errorf("warnings %v", c.Warnings)
	}
}

type login struct {
	Password gateway.Secret            `yaml:"password"`
	Keys     map[string]gateway.Secret `yaml:"keys"`
	More     []gateway.Secret          `yaml:"more"`
	Number   int                       `yaml:"number"`
}

// A12, C12: whatever goes wrong, no secret is shown.
func TestRedacted(t *testing.T) {
	t.Setenv("PITHEAD_TEST_SECRET", "env-secret")
	text := `admin:
  token: plain-secret # an older-secret
  address: "127.0.0.1:1"
upstreams: {a: {discover: {static: {}}}}
routes: [{match: {prefix: /}, to: a, use: [{login: {
  password: "${PITHEAD_TEST_SECRET}", keys: {k: 'key-secret', l: "${NONE:-default-secret}"},
  more: [more-secret, |-
`
	text = strings.Replace(text, ", |-\n", "], number: 1}}]}]\n", 1)
	text += "middleware:\n  m:\n    login:\n      password: |\n        block-secret\n        second-secret\n      number: x\n"
	c := parse(t, text)
	if err := c.Routes[0].Use[0].Decode(&login{}); err != nil {
		t.Fatal(err)
	}
	err := c.Middleware["m"].Decode(&login{})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	out := string(c.Redacted())
	for _, secret := range []string{"plain-", "older-", "env-", "key-", "default-", "more-", "block-", "second-"} {
		if strings.Contains(out, secret) {
			t.Errorf("%s... is shown:\n%s", secret, out)
		}
	}
	for _, kept := range []string{"password: \"${PITHEAD_TEST_SECRET}\"", "token: \"[redacted]\"", "number: x", "# \"x.yaml\""} {
		if !strings.Contains(out, kept) {
			t.Errorf("%s is missing:\n%s", kept, out)
		}
	}

	_, err = Parse(FilesOf("x.yaml", []byte(shortest+"admin: {token: plain-secret, tokn: other-secret, hots: [x]}\n")))
	if err == nil || strings.Contains(err.Error(), "-secret") {
		t.Errorf("a source line shows it: %v", err)
	}
	e := c.Errorf(&c.Admin.Token, "the token %q is too short", c.Admin.Token.Reveal())
	if strings.Contains(e.Error(), "plain-secret") {
		t.Errorf("a message shows it: %v", e)
	}
	e = c.Errorf(&c.Routes[0].To, "login with %s and %s failed", "env-secret", "default-secret")
	if strings.Contains(e.Error(), "env-secret") {
		t.Errorf("a message about something else shows it: %v", e)
	}
}

// A12, C12: what errors show of ${...}.
func TestShown(t *testing.T) {
	tree(t, map[string]string{"password": "file-secret\n", "pin": "123\n"})
	t.Setenv("PITHEAD_TEST_ADDRESS", "127.0.0.1:9")
	t.Setenv("PITHEAD_TEST_TOKEN", "env-secret")
	t.Setenv("PITHEAD_TEST_SHORT", "abc")
	text := shortest + `listeners: {w: {address: "${PITHEAD_TEST_ADDRESS}"}, v: {address: "${NONE:-127.0.0.1:8}"}}
access_log: {output: "db://u:${file:password}@h"}
admin: {address: "${NONE:-127.0.0.1:7}", token: "${PITHEAD_TEST_TOKEN}", hosts: ["h${file:pin}"]}
middleware: {m: {login: {password: "${PITHEAD_TEST_SHORT}", more: ["${NONE:-other-secret}"]}}}
`
	c := parse(t, text)
	if err := c.Middleware["m"].Decode(&login{}); err != nil {
		t.Fatal(err)
	}
	f := func(field any, msg, want string) {
		t.Helper()
		if e := c.Errorf(field, "%s", msg); e.Msg != want {
			t.Errorf("got  %s\nwant %s", e.Msg, want)
		}
	}
	f(&c.Listeners["w"].Address, "listen 127.0.0.1:9: in use", "listen 127.0.0.1:9: in use")
	f(&c.Listeners["v"].Address, "listen 127.0.0.1:8: in use", "listen 127.0.0.1:8: in use")
	f(&c.Admin.Address, "listen 127.0.0.1:7: in use", "listen 127.0.0.1:7: in use")
	f(&c.AccessLog.Output, "open db://u:file-secret@h: no", "open db://u:${file:password}@h: no")
	f(&c.AccessLog.Output, "bad password file-secret", "bad password ${file:password}")
	f(&c.Routes, "file-secret env-secret other-secret", "${file:password} ${PITHEAD_TEST_TOKEN} [redacted]")
	f(&c.Admin.Token, `"env-secret" is bad`, `"${PITHEAD_TEST_TOKEN}" is bad`)
	f(&c.Admin.Hosts[0], "no host h123", "no host h${file:pin}")
	errs := c.Middleware["m"].Errors(kind.At("password", "abc is too short"))
	if len(errs) != 1 || errs[0].Msg != "${PITHEAD_TEST_SHORT} is too short" {
		t.Errorf("got %v", errs)
	}

	if err := c.Refuse(errs); err == nil || strings.Count(err.Error(), "PITHEAD_TEST_SHORT") != 2 {
		t.Errorf("told again: %v", err)
	}
	if got := replaceText(replaceText("pass is short", "pass", "${file:pass}"), "pass", "${file:pass}"); got != "${file:pass} is short" {
		t.Errorf("hidden twice: %s", got)
	}

	// The token is found to be a secret only after the mistake before it.
	_, err := Parse(FilesOf("x.yaml", []byte(shortest+`access_log: {format: "${PITHEAD_TEST_TOKEN}"}
reload: {poll: "${PITHEAD_TEST_TOKEN}"}
admin: {address: "a b", token: "${PITHEAD_TEST_TOKEN}", tokn: "other-secret"}
`)))
	if err == nil || strings.Contains(err.Error(), "-secret") {
		t.Errorf("got %v", err)
	}
	_, err = Parse(FilesOf("x.yaml", []byte(shortest+"admin: {token: {a: plain-secret}}\n")))
	if err == nil || strings.Contains(err.Error(), "-secret") {
		t.Errorf("got %v", err)
	}
}
