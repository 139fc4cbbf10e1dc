package middleware_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// Hashes of "open sesame", cheap ones.
const (
	bcryptOpen = "$2a$05$Mg88A3gTe9MVTAfNJkxtUeYZMx9u/kUkwOdu15WPQgto2N.koPouu"
	argonOpen  = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$zl7V9C596JtSXWShZ2Tfc7QVGFpgGIXeJjaZ2scNEC0"
)

func basic(credentials string) string {
	return "GET /\nAuthorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

func users(settings string) string {
	return "basic_auth: {users: {ada: " + bcryptOpen + ", grace: '" + argonOpen + "'}" + settings + "}"
}

func TestBasicAuth(t *testing.T) {
	env, _ := orders(t)
	asked := map[string]string{"WWW-Authenticate": `Basic realm="restricted", charset="UTF-8"`}
	middlewaretest.Run(t, env, users(", header: x-user"), []middlewaretest.Case{
		{Name: "bcrypt", Request: basic("ada:open sesame"), Proves: "ada", Sent: map[string]string{"X-User": "ada", "Authorization": ""}},
		{Name: "argon2id", Request: basic("grace:open sesame"), Proves: "grace", Sent: map[string]string{"X-User": "grace", "Authorization": ""}},
		{Name: "remembered", Request: basic("ada:open sesame"), Proves: "ada"},
		{Name: "scheme in capitals", Request: strings.Replace(basic("ada:open sesame"), "Basic ", "BASIC  ", 1), Proves: "ada"},
		{Name: "nothing", Status: 401, Reason: "no_credentials", Header: asked},
		{Name: "wrong password", Request: basic("ada:open sesam"), Status: 401, Reason: "bad_credentials", Header: asked},
		{Name: "no password", Request: basic("ada:"), Status: 401, Reason: "bad_credentials"},
		{Name: "unknown", Request: basic("eve:open sesame"), Status: 401, Reason: "bad_credentials", Header: asked},
		{Name: "nobody", Request: basic(":open sesame"), Status: 401, Reason: "bad_credentials"},
		{Name: "name in capitals", Request: basic("ADA:open sesame"), Status: 401, Reason: "bad_credentials"},
		{Name: "I23 the end of the name", Request: basic("ad:aopen sesame"), Status: 401, Reason: "bad_credentials"},
		{Name: "the hash is no password", Request: basic("ada:" + bcryptOpen), Status: 401, Reason: "bad_credentials"},
		{Name: "no colon", Request: basic("ada"), Status: 401, Reason: "bad_credentials"},
		{Name: "no base64", Request: "GET /\nAuthorization: Basic ada:open", Status: 401, Reason: "bad_credentials"},
		{Name: "J32 two", Request: basic("ada:open sesame") + ", Bearer x", Status: 401, Reason: "bad_credentials"},
		{Name: "J32 another scheme", Request: "GET /\nAuthorization: Bearer x", Status: 401, Reason: "bad_credentials", Header: asked},
		{Name: "too long", Request: basic("ada:" + strings.Repeat("x", 1<<10)), Status: 401, Reason: "bad_credentials"},
		{Name: "R03 what is not proven is nobody", Request: basic("ada:guess"), Status: 401, Reason: "bad_credentials", Check: func(t testing.TB, a middlewaretest.Answer) {
			if a.Exchange.Subject != "" {
				t.Errorf("subject %q", a.Exchange.Subject)
			}
		}},
	})
	middlewaretest.Run(t, env, users(", forward: true, realm: back office, cache: 0s"), []middlewaretest.Case{
		{Name: "forwarded", Request: basic("ada:open sesame"), Proves: "ada", Sent: map[string]string{"Authorization": basic("ada:open sesame")[21:]}},
		{Name: "realm", Status: 401, Reason: "no_credentials", Header: map[string]string{"WWW-Authenticate": `Basic realm="back office", charset="UTF-8"`}},
	})
}

func TestBasicAuthFile(t *testing.T) {
	env, _ := orders(t)
	path := filepath.Join(t.TempDir(), "users")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	block := "basic_auth: {file: " + path + "}"
	write("# people\r\n\r\nada:" + bcryptOpen + "\r\ngrace:" + argonOpen)
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "first", Request: basic("ada:open sesame"), Proves: "ada"},
		{Name: "last", Request: basic("grace:open sesame"), Proves: "grace"},
	})
	middlewaretest.Run(t, env, "basic_auth: {file: "+path+", users: {eve: '"+argonOpen+"'}}", []middlewaretest.Case{
		{Name: "file with inline", Request: basic("ada:open sesame"), Proves: "ada"},
		{Name: "inline", Request: basic("eve:open sesame"), Proves: "eve"},
	})
	// The same user with another password: what was remembered of the old one does not count.
	write("ada:" + strings.Replace(bcryptOpen, "Mg88", "Mg89", 1) + "\ngrace:" + argonOpen)
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "changed password", Request: basic("ada:open sesame"), Status: 401, Reason: "bad_credentials"},
		{Name: "unchanged password", Request: basic("grace:open sesame"), Proves: "grace"},
	})
	wrong := func(text, want string) {
		t.Helper()
		write(text)
		told := middlewaretest.Mistakes(t, env, block)
		if got := strings.ReplaceAll(strings.Join(told, "|"), path, "FILE"); got != "1:20: FILE"+want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	wrong("# nobody\n", " holds no user")
	wrong("ada:"+bcryptOpen+"\n\nada:"+argonOpen, ":3: ada stands here a second time")
	wrong("ada", ":1: want name:hash")
	wrong("ada:hunter2", ":1: ada: is no bcrypt or Argon2id hash; make one with: htpasswd -nB -C 12 NAME")
	wrong("ada:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", ":1: ada: is a SHA-1 hash without a salt, which is guessed by the billion; make one with: htpasswd -nB -C 12 NAME")
	wrong("ada:$apr1$x$y", ":1: ada: is an MD5 hash, which is guessed by the billion; make one with: htpasswd -nB -C 12 NAME")
}

func TestBasicAuthMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("basic_auth: {}", "1:1: knows nobody; list users, or name a file")
	f("basic_auth: {file: /nowhere}", "1:20: stat /nowhere: no such file or directory")
	f(`basic_auth: {users: {"a:b": `+bcryptOpen+"}}", `1:29: "a:b" holds a colon, which ends a name`)
	f(`basic_auth: {users: {ä: `+bcryptOpen+"}}", `1:25: "ä" is no name; write printable ASCII`)
	f("basic_auth: {users: {a: "+bcryptOpen+`}, realm: "", header: authorization, cache: 2h}`,
		`1:95: "" is no realm; write ASCII without quotes and backslashes`, "1:107: is where the password stands",
		"1:129: is longer than 1h, in which a password could not be taken away")
	hash := func(hash, want string) {
		t.Helper()
		f("basic_auth: {users: {a: '"+hash+"'}}", "1:25: "+want)
	}
	const no = "is no bcrypt or Argon2id hash; make one with: htpasswd -nB -C 12 NAME"
	hash("", no)
	hash("hunter2", no)
	hash("$6$salt$hash", no)
	hash("$argon2i$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$zl7V9C596JtSXWShZ2Tfcw", no)
	hash("$2x"+bcryptOpen[3:], "$2x$ marks hashes of a broken bcrypt, which many passwords fit; set the password again")
	hash(bcryptOpen[:59], "is no whole bcrypt hash; it has 60 characters, as in $2b$12$ and 53 more")
	hash(bcryptOpen+"x", "is no whole bcrypt hash; it has 60 characters, as in $2b$12$ and 53 more")
	for _, cost := range []int{4, 15, 31} {
		hash(fmt.Sprintf("$2b$%02d$%s", cost, bcryptOpen[7:]), fmt.Sprintf("the cost of the bcrypt hash is %d; it must be from 5 to 14, and 10 to 12 is usual", cost))
	}
	const form = "is no whole Argon2id hash; it reads $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH, with salt and hash in base64 without ="
	hash(strings.Replace(argonOpen, "v=19", "v=16", 1), form)
	hash(strings.Replace(argonOpen, "t=1", "t=0", 1), form)
	hash(argonOpen+"=", form)
	hash(argonOpen[:len(argonOpen)-2], form)
	hash("$argon2id$v=19$m=64,t=1,p=1$MDEy$zl7V9C596JtSXWShZ2Tfcw", "the salt of an Argon2id hash has 8 to 64 bytes, the hash itself 16 to 64")
	const much = "Argon2id may take p=16 at most, m from 8 for each p to 262144, and m times t to 1048576"
	hash(strings.Replace(argonOpen, "m=64", "m=7", 1), much)
	hash(strings.Replace(argonOpen, "m=64", "m=262145", 1), much)
	hash(strings.Replace(argonOpen, "m=64,t=1", "m=65536,t=17", 1), much)
	hash(strings.Replace(argonOpen, "m=64,t=1,p=1", "m=640,t=1,p=17", 1), much)
}

func TestBasicAuthExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, users(""))
	f := func(request, want, subject string, status int) {
		t.Helper()
		x := new(gateway.Exchange)
		if got := step.Explain(middlewaretest.Request(t, request), x); got != want || x.Status != status || x.Subject != subject {
			t.Errorf("%q, %d, subject %q; want %q, %d, %q", got, x.Status, x.Subject, want, status, subject)
		}
	}
	f(basic("ada:open sesame"), `the password proves the subject "ada"`, "ada", 0)
	f(basic("eve:open sesame"), "answers 401: name or password is wrong", "", 401)
	f("GET /", "answers 401: a name and a password are required", "", 401)
}

func TestBasicAuthBudget(t *testing.T) {
	f := func(name, settings string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, users(settings), basic("ada:open sesame"))); n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("forwarded", ", forward: true", 0, "none")
	f("hidden", "", 1, "the list of headers that do not go upstream")
}

func BenchmarkBasicAuth(b *testing.B) {
	run := pass(b, users(", forward: true"), basic("ada:open sesame"))
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}
