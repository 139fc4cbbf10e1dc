package middleware_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// digest is what a configuration holds of a key.
func digest(key string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(key))) }

// keysOf is the block with two keys, one of which has everything.
func keysOf(settings string) string {
	return "api_key: {keys: [{id: shop-1, sha256: " + digest("open") + ", subject: shop, meta: {plan: gold, team: a b}}, {id: bare, sha256: " + digest("sesame") + "}], " +
		settings + "}"
}

func TestAPIKey(t *testing.T) {
	env, _ := orders(t)
	challenge := map[string]string{"WWW-Authenticate": `ApiKey realm="api"`}
	middlewaretest.Run(t, env, keysOf("headers: {x-plan: plan, x-key-id: id, X-Who: subject}"), []middlewaretest.Case{
		{
			Name: "known", Request: "GET /\nX-Api-Key: open", Proves: "shop",
			Sent: map[string]string{"X-Plan": "gold", "X-Key-Id": "shop-1", "X-Who": "shop", "X-Api-Key": ""},
		},
		{Name: "without meta", Request: "GET /\nX-Api-Key: sesame", Proves: "bare", Sent: map[string]string{"X-Plan": "", "X-Key-Id": "bare", "X-Who": "bare"}},
		{Name: "of an earlier proof only the new one is left", Request: "GET /\nX-Api-Key: sesame", Subject: "ada", Proves: "bare"},
		{Name: "none", Status: 401, Reason: "no_api_key", Header: challenge},
		{Name: "empty", Request: "GET /\nX-Api-Key:", Status: 401, Reason: "bad_api_key", Header: challenge},
		{Name: "unknown", Request: "GET /\nX-Api-Key: opem", Status: 401, Reason: "bad_api_key", Header: challenge},
		{Name: "the digest is no key", Request: "GET /\nX-Api-Key: " + digest("open"), Status: 401, Reason: "bad_api_key"},
		{Name: "two", Request: "GET /\nX-Api-Key: open\nX-Api-Key: open", Status: 400, Reason: "several_api_keys", Header: map[string]string{"WWW-Authenticate": ""}},
		{Name: "elsewhere", Request: "GET /?api_key=open\nAuthorization: Bearer open", Status: 401, Reason: "no_api_key"},
		{Name: "R03 what is not proven is nobody", Request: "GET /\nX-Api-Key: unknown", Status: 401, Reason: "bad_api_key", Check: func(t testing.TB, a middlewaretest.Answer) {
			if a.Exchange.Subject != "" {
				t.Errorf("subject %q", a.Exchange.Subject)
			}
		}},
	})
	middlewaretest.Run(t, env, keysOf("forward: true, realm: orders"), []middlewaretest.Case{
		{Name: "forwarded", Request: "GET /\nX-Api-Key: open", Proves: "shop", Sent: map[string]string{"X-Api-Key": "open"}},
		{Name: "realm", Status: 401, Reason: "no_api_key", Header: map[string]string{"WWW-Authenticate": `ApiKey realm="orders"`}},
	})
}

func TestAPIKeyPlaces(t *testing.T) {
	env, _ := orders(t)
	uri := func(want string) func(testing.TB, middlewaretest.Answer) {
		return func(t testing.TB, a middlewaretest.Answer) {
			if got := a.Sent.URL.RequestURI(); got != want {
				t.Errorf("sent %s, want %s", got, want)
			}
		}
	}
	logged := func(want string, next func(testing.TB, middlewaretest.Answer)) middlewaretest.Case {
		target := "http://api.example.com" + want
		return middlewaretest.Case{Name: want, Request: "GET " + target, Proves: "shop", Check: next}
	}
	const three = "in: [{header: authorization, scheme: Bearer}, {header: x-key}, {query: api_key}]"
	middlewaretest.Run(t, env, keysOf(three), []middlewaretest.Case{
		{Name: "scheme", Request: "GET /\nAuthorization: bearer  open", Proves: "shop", Sent: map[string]string{"Authorization": ""}},
		{
			Name: "another scheme is no key", Request: "GET /\nAuthorization: Basic b3Blbg==\nX-Key: open", Proves: "shop",
			Sent: map[string]string{"Authorization": "Basic b3Blbg==", "X-Key": ""},
		},
		{Name: "only another scheme", Request: "GET /\nAuthorization: Bearer", Status: 401, Reason: "no_api_key", Header: map[string]string{"WWW-Authenticate": `Bearer realm="api"`}},
		{Name: "two places", Request: "GET /?api_key=open\nX-Key: open", Status: 400, Reason: "several_api_keys"},
		{Name: "two parameters", Request: "GET /?api_key=open&api%5fkey=x", Status: 400, Reason: "several_api_keys"},
		logged("/?api_key=open", uri("/")),
		logged("/x?a=%41&api_key=open&b=2&b=3", uri("/x?a=%41&b=2&b=3")),
		logged("/x?api%5Fkey=op%65n&a", uri("/x?a")),
		{Name: "like it", Request: "GET /?xapi_key=open&api_key2=open&API_KEY=open", Status: 401, Reason: "no_api_key"},
	})
	middlewaretest.Run(t, env, keysOf("in: {query: api_key}, forward: true"), []middlewaretest.Case{
		logged("/?api_key=open&a=1", uri("/?api_key=open&a=1")),
	})
	t.Run("the access log has the request that came", func(t *testing.T) {
		r := middlewaretest.Request(t, "GET /?api_key=open&a=1")
		a := middlewaretest.Send(t, env, middlewaretest.Build(t, env, keysOf(three)), r, &gateway.Exchange{})
		if a.Status != 200 || r.URL.RawQuery != "api_key=open&a=1" || a.Sent.URL.RawQuery != "a=1" {
			t.Errorf("%d, came %s, sent %s", a.Status, r.URL.RawQuery, a.Sent.URL.RawQuery)
		}
	})
}

// Time is looked at with every request, not when the configuration is loaded.
func TestAPIKeyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, _ := orders(t)
		end := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		step := middlewaretest.Build(t, env, "api_key: {keys: [{id: a, sha256: "+digest("open")+`, not_after: "`+end+`"}]}`)
		ask := func() middlewaretest.Answer { return send(t, env, step, "GET /\nX-Api-Key: open", &gateway.Exchange{}) }
		<-time.After(time.Hour - 1)
		if a := ask(); a.Status != 200 {
			t.Errorf("%d before the end", a.Status)
		}
		<-time.After(1)
		if a := ask(); a.Status != 401 || a.Exchange.Err.Reason != "api_key_expired" || a.Exchange.Subject != "" {
			t.Errorf("%d %v at the end", a.Status, a.Exchange.Err)
		}
	})
}

func TestAPIKeyFile(t *testing.T) {
	env, _ := orders(t)
	path := filepath.Join(t.TempDir(), "keys.jsonl")
	write := func(lines ...string) {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := func(id, key, more string) string {
		return fmt.Sprintf(`{"id": %q, "sha256": %q%s}`, id, digest(key), more)
	}
	block := "api_key: {file: " + path + ", headers: {x-plan: plan}}"
	write("# ours", "", line("a", "open", `, "meta": {"plan": "gold"}, "subject": "shop"`), "  "+line("b", "late", `, "not_after": "2020-01-01"`)+"\r")
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "file", Request: "GET /\nX-Api-Key: open", Proves: "shop", Sent: map[string]string{"X-Plan": "gold"}},
		{Name: "late", Request: "GET /\nX-Api-Key: late", Status: 401, Reason: "api_key_expired"},
	})
	middlewaretest.Run(t, env, "api_key: {file: "+path+", keys: [{id: c, sha256: "+digest("inline")+"}]}", []middlewaretest.Case{
		{Name: "file with inline", Request: "GET /\nX-Api-Key: open", Proves: "shop"},
		{Name: "inline", Request: "GET /\nX-Api-Key: inline", Proves: "c"},
	})
	write(line("new", "open", ""))
	middlewaretest.Run(t, env, block, []middlewaretest.Case{{Name: "built again", Request: "GET /\nX-Api-Key: open", Proves: "new", Sent: map[string]string{"X-Plan": ""}}})

	wrong := func(want string, lines ...string) {
		t.Helper()
		write(lines...)
		told := middlewaretest.Mistakes(t, env, block)
		if got := strings.ReplaceAll(strings.Join(told, "|"), path, "FILE"); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	const at = "1:17: FILE"
	wrong(at + " holds no key; if nobody is to pass, leave one that has expired")
	wrong(at+`:2: a second key has the id "a"`, line("a", "x", ""), line("a", "y", ""))
	wrong(at+`:3: the key "b" has the digest of "a"`, line("a", "x", ""), "", line("b", "x", ""))
	wrong(at+`:1: unknown field "key"`, `{"id": "a", "key": "secret"}`)
	wrong(at+`:1: "sha256" is required`, `{"id": "a"}`)
	wrong(at+`:1: id: "" is no id; write printable ASCII`, `{"sha256": "`+digest("x")+`"}`)
	wrong(at+":1: more than one value in a line", line("a", "x", "")+line("b", "y", ""))
	wrong(at+`:1: want a SHA-256 digest, 64 hexadecimal digits, and never the key itself; make it with: printf %s "$KEY" | sha256sum`, `{"id": "a", "sha256": "hunter2"}`)
	wrong(at+":1: unexpected EOF|"+at+":2: invalid character 'x' looking for beginning of value", `{"id": "a"`, "x")
}

func TestAPIKeyMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("api_key: {}", "1:1: knows no key; list some under keys, or name a file")
	const hint = `want a SHA-256 digest, 64 hexadecimal digits, and never the key itself; make it with: printf %s "$KEY" | sha256sum`
	f("api_key: {keys: [{id: a, sha256: hunter2}]}", "1:34: "+hint)
	f("api_key: {keys: [{id: a, sha256: "+strings.Repeat("g", 64)+"}]}", `1:34: a SHA-256 digest has only hexadecimal digits; make it with: printf %s "$KEY" | sha256sum`)
	f("api_key: {keys: [{id: a, sha256: "+digest("")+"}]}", "1:34: is the digest of an empty text; was the variable with the key set?")
	f("api_key: {keys: [{id: a, sha256: "+digest("\n")+"}]}", "1:34: is the digest of an empty text; was the variable with the key set?")
	one := "{id: a, sha256: " + digest("x") + "}"
	f("api_key: {keys: ["+one+", {id: b, sha256: "+digest("x")+"}]}", `1:101: the key "b" has the digest of "a"`)
	f("api_key: {keys: [{id: a, sha256: "+digest("x")+", not_after: tomorrow}]}", `1:111: "tomorrow" is no time; write for example 2027-01-31 or 2027-01-31T12:00:00Z`)
	f("api_key: {in: [{header: a, query: b}, {}, {query: who}, {query: key, scheme: x}, {header: connection}], keys: ["+one+"]}",
		"1:16: give either header or query", "1:39: give either header or query",
		`1:51: the access log would show the keys, since it cannot know that "who" holds any; use a name such as api_key, key or access_token`,
		"1:78: is only for headers", "1:91: the header Connection cannot be read here: it is not passed on from outside")
	f("api_key: {in: [], keys: ["+one+"]}", "1:11: names no place where a key may stand")
	f("api_key: {in: [{header: x-a}, {header: X-A}], keys: ["+one+"]}", "1:31: stands here a second time")
	f(`api_key: {headers: {x-api-key: id, te: id, x-a: ""}, realm: 'a"', keys: [`+one+"]}",
		"1:32: the key itself stands in this header", "1:40: te belongs to the connection or frames the message, and is the gateway's own",
		"1:49: wants id, subject, or the name of an entry of meta", `1:61: "a\"" is no realm; write ASCII without quotes and backslashes`)
	f("api_key: {keys: [{id: ä, sha256: "+digest("x")+`, meta: {id: x, a: "b\nc"}}]}`, `1:23: "ä" is no id; write printable ASCII`,
		"1:111: is a setting of the key itself", `1:117: "b\nc" cannot stand in a header; write printable ASCII`)
	f("api_key: {file: /nowhere}", "1:17: stat /nowhere: no such file or directory")
}

func TestAPIKeyExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, keysOf("headers: {x-plan: plan}, in: [{header: x-api-key}, {query: key}]"))
	f := func(request, want, subject string, status int) {
		t.Helper()
		x := new(gateway.Exchange)
		if got := step.Explain(middlewaretest.Request(t, request), x); got != want || x.Status != status || x.Subject != subject {
			t.Errorf("%q, %d, subject %q; want %q, %d, %q", got, x.Status, x.Subject, want, status, subject)
		}
	}
	f("GET /\nX-Api-Key: open", `the key "shop-1" proves the subject "shop", sets X-Plan`, "shop", 0)
	f("GET /\nX-Api-Key: sesame", `the key "bare" proves the subject "bare"`, "bare", 0)
	f("GET /", "answers 401: an API key is required (looks for a key in X-Api-Key or the query parameter key)", "", 401)
}

func TestAPIKeyBudget(t *testing.T) {
	f := func(name, settings, request string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, keysOf(settings), request)); n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("forwarded", "forward: true", "GET /v1/x\nX-Api-Key: open", 0, "none")
	f("hidden", "forward: false", "GET /v1/x\nX-Api-Key: open", 1, "the list of headers that do not go upstream")
	f("with a header", "forward: true, headers: {x-plan: plan}", "GET /v1/x\nX-Api-Key: open", 3, "the headers for upstream, the first place in them and the value")
}
