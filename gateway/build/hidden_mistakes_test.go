package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/config"
)

// everything is what check tells of files, the first of which is the process file: the
// places without folders.
func (p *process) everything(files ...string) (all []string) {
	p.t.Helper()
	dir := filepath.Dir(p.name) + string(os.PathSeparator)
	f := config.FilesOf(p.name, []byte(files[0]))
	for i, text := range files[1:] {
		f.With(dir+string(rune('b'+i)), []byte(text))
	}
	cfg, err := config.Parse(f)
	if err != nil {
		err = Mistakes(cfg, err, p.Env)
	} else if snap, bad := Compile(cfg, p.Env); bad != nil {
		err = bad
	} else {
		p.close(snap)
	}
	errs, _ := errors.AsType[config.Errors](err)
	for _, e := range errs {
		place := strings.TrimPrefix(strings.TrimPrefix(e.String(), dir), "pithead.yaml:")
		all = append(all, place+": "+strings.ReplaceAll(e.Msg, dir, ""))
	}
	if n := p.Pool.Len(); n != 0 {
		p.t.Errorf("a refused configuration left %d values", n)
	}
	return all
}

// hidden tests that no mistake hides behind another one in the same block, route,
// upstream, listener or file, and that what only follows from one is not told.
func hidden(t *testing.T) func(name string, files []string, want ...string) {
	return func(name string, files []string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, newProcess(t).everything(files...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// one is a single file with these lines.
func one(text ...string) []string { return []string{lines(text...)} }

const goodApp = `upstreams: {app: {discover: {static: {targets: ["127.0.0.1:9000"]}}}}` + "\n"

func TestHiddenMistakesOfEnds(t *testing.T) {
	f := hidden(t)
	f("an upstream without a source", one(
		`upstreams:`,
		`  app:`,
		`    balance: fair`,
		`    protocol: https`,
		`    tls: {ca: no.pem, certificate: {cert: no.crt, key: no.key}}`,
		`    timeouts: {connect: 0s, idle: -1s}`,
		`routes: [{match: {prefix: /}, to: app}]`,
	),
		`2:3: upstreams.app: "discover" is required`,
		`3:14: unknown balancing policy "fair"`,
		"5:15: open no.pem: no such file or directory",
		"5:43: open no.crt: no such file or directory",
		"5:56: open no.key: no such file or directory",
		"6:25: must be more than 0s",
		"6:35: the duration -1s is negative",
	)
	f("an upstream with a bad protocol", one(
		`upstreams:`,
		`  app:`,
		`    discover: {static: {targets: [nowhere, {address: "10.0.0.1:80", weight: 101}, "10.0.0.1:80"]}}`,
		`    balance: {least_request: {choices: 1, choice: 2}}`,
		`    protocol: [http]`,
		`    health: {path: x, interval: 0s}`,
	),
		`3:35: address: "nowhere" is not host:port`,
		"3:77: must be 1 to 100, not 101",
		"3:83: address: 10.0.0.1:80 is also targets[1]",
		"4:40: must be between 2 and 16",
		`4:43: unknown key "choice" (did you mean "choices"?)`,
		"5:5: upstreams.app.protocol: want text, not a list",
		`6:20: "x" does not begin with a slash`,
		"6:33: 0s is less than the least, 10ms",
	)
	f("a listener", one(
		`listeners:`,
		`  web:`,
		`    address: nowhere`,
		`    protocols: [h9]`,
		`    limits: {cookies: 0, query_params: none}`,
		`    tls:`,
		`      min_version: "1.1"`,
		`      certificates: [{cert: no.crt, key: no.key}, {cert: also.crt}]`,
		`      client: {mode: verify, ca: [no.pem]}`,
	),
		`3:14: "nowhere" is no address; write for example :8080 or 127.0.0.1:8080`,
		`4:17: "h9" is not known here (did you mean "h1"?)`,
		"5:23: 0 is not between 1 and 10000",
		`5:40: "none" is no whole number`,
		`7:20: "1.1" is not known here (did you mean "1.2"?)`,
		"8:29: open no.crt: no such file or directory",
		"8:42: open no.key: no such file or directory",
		`8:51: listeners.web.tls.certificates[1]: "key" is required`,
		"8:58: open also.crt: no such file or directory",
		`9:22: "verify" is not known here; known are require, verify_if_given, request, none`,
		"9:35: open no.pem: no such file or directory",
	)
}

func TestHiddenMistakesOfRoutes(t *testing.T) {
	f := hidden(t)
	f("a route", []string{goodApp + lines(
		`routes:`,
		`  - name: A`,
		`    match: {path_regex: "(", host: "x y", methods: [get], headers: {a: {regex: "["}}}`,
		`    to: ap`,
		`    timeout: 5`,
		`    use: [{cors: {allow_origins: [nowhere]}}, gone, {compress: {levl: 1}}, {rewrite: {regex: "(", to: $1}}]`,
	)},
		`3:11: "A" is no good name: lower-case letters, digits, '_', '.' and '-', and a letter or digit first`,
		"4:25: error parsing regexp: missing closing ): `(`",
		`4:36: "x y" is no host`,
		"4:53: methods are written in capitals: GET",
		"4:59: error parsing regexp: missing closing ]: `[`",
		"4:80: error parsing regexp: missing closing ]: `[`",
		`5:9: unknown upstream "ap" (did you mean "app"?)`,
		"6:14: the duration 5 has no unit; write for example 5ms, 5s or 5m",
		`7:35: "nowhere" is no origin; write for example https://shop.example.com`,
		"7:47: no block named \"gone\" under `middleware`",
		`7:65: unknown key "levl"; known are encodings, min_size, types`,
		"7:94: error parsing regexp: missing closing ): `(`",
	)
	f("a match that the index refuses, beside what Parse refuses", []string{goodApp + lines(
		`routes:`,
		`  - {match: {path: "/v1/%zz"}, to: app}`,
		`  - {match: {prefix: "/v1/*"}, to: app, timeout: 5}`,
		`  - {match: {prefix: [/]}, to: app}`,
	)},
		`3:20: "/v1/%zz": a percent sign must begin an escape such as %20`,
		`4:22: "/v1/*": a star is no wildcard in a path; write prefix: /v1, or %2A for the star itself`,
		"4:50: the duration 5 has no unit; write for example 5ms, 5s or 5m",
		"5:14: routes[2].match.prefix: want text, not a list",
	)
	f("a block whose settings are wrong, and the files that it names", []string{goodApp + lines(
		`middleware:`,
		`  pages: {error_pages: {pages: [{statuses: [200], html: x}, {statuses: [404], html: {file: no.html}}]}}`,
		`routes:`,
		`  - {match: {prefix: /}, to: app, use: [pages, {openapi_validate: {openapi: no.yaml, base_path: v1}}]}`,
	)},
		`3:45: "200" is no error status; write for example 503, 502-504 or 5xx`,
		"3:92: stat no.html: no such file or directory",
		"5:77: no.yaml: lstat no.yaml: no such file or directory",
		`5:97: "v1" does not begin with a slash`,
	)
	f("steps before an upstream with mistakes", one(
		`upstreams: {app: {discover: {statik: {}}, arms: {stable: {tag: s}}}}`,
		`routes:`,
		`  - match: {prefix: /}`,
		`    to: app`,
		`    use: [{canary: {split: {stable: 9, canary: 1}}}, {mirror: {to: ap}}, {error_pages: {pages: [{html: {file: no.html}}]}}, {grpc_web: {}}]`,
	),
		`1:30: unknown discovery source "statik" (did you mean "static"?)`,
		`5:48: upstream "app" has no arm "canary"; define it under upstreams.app.arms, or here under arms`,
		`5:68: unknown upstream "ap"`,
		"5:111: stat no.html: no such file or directory",
		`5:126: upstream "app" does not speak HTTP/2, which gRPC needs; write protocol: h2c, or https without proxy_protocol`,
	)
}

func TestHiddenMistakesOfNames(t *testing.T) {
	f := hidden(t)
	f("what names an upstream that cannot be understood", one(
		`upstreams: {app: , b: {discover: {static: {targets: ["127.0.0.1:9000"]}}, arms: {canary: }}}`,
		`routes:`,
		`  - {match: {prefix: /a}, to: app, use: [{mirror: {to: app}}, {mirror: {to: b, subset: canary}}]}`,
		`  - {match: {prefix: /b}, to: b, use: [{mirror: {to: c}}]}`,
	),
		"1:13: upstreams.app has no value; give it one or remove it",
		"1:82: upstreams.b.arms.canary has no value; give it one or remove it",
		`4:54: unknown upstream "c"`,
	)
	f("a misspelt list", one(
		`listenerz: {web: {address: ":80"}}`,
		`middlewares: {a: {cors: {}}}`,
		`upstream: {app: {discover: {static: {targets: ["127.0.0.1:9000"]}}}}`,
		`routes: [{match: {prefix: /, listeners: [web]}, to: app, use: [a, {mirror: {to: app}}], timeout: 5}]`,
	),
		`1:1: unknown key "listenerz" (did you mean "listeners"?)`,
		`2:1: unknown key "middlewares" (did you mean "middleware"?)`,
		`3:1: unknown key "upstream" (did you mean "upstreams"?)`,
		"4:98: the duration 5 has no unit; write for example 5ms, 5s or 5m",
	)
	f("a misspelt list of a route file", []string{
		"routes: [{match: {prefix: /}, to: app, use: [a]}]\n",
		"upstream: {app: {}}\nmiddlewear: {a: {}}\nlistenrs: {}\n",
	},
		`b:1:1: a route file holds only upstreams, middleware and routes, not "upstream" (did you mean "upstreams"?)`,
		`b:2:1: a route file holds only upstreams, middleware and routes, not "middlewear" (did you mean "middleware"?)`,
		`b:3:1: a route file holds only upstreams, middleware and routes, not "listenrs"`,
	)
}

func TestHiddenMistakesOfTargets(t *testing.T) {
	f := hidden(t)
	f("a route without an upstream", []string{goodApp + lines(
		`routes:`,
		`  - {match: {prefix: /1}, use: [{cache: {wait: 2m}}], timeout: 5}`,
		`  - {match: {prefix: /2}, too: app, use: [cache]}`,
		`  - {match: {prefix: /3}, to: [app], use: [cache]}`,
		`  - {match: {prefix: /4}, use: [{respond: {status: 99}}]}`,
		`  - {match: {prefix: /5}, use: [{cors: {allow_origins: [x]}}]}`,
	)},
		"3:5: a route needs `to`, or `respond`, `redirect` or `mock` in `use`",
		"3:48: 2m0s is not from 0s to 1m",
		"3:64: the duration 5 has no unit; write for example 5ms, 5s or 5m",
		`4:27: routes[1]: unknown key "too" (did you mean "to"?)`,
		"5:27: routes[2].to: want text, not a list",
		"6:52: 99 is not from 200 to 599",
		"7:5: a route needs `to`, or `respond`, `redirect` or `mock` in `use`",
		`7:57: "x" is no origin; write for example https://shop.example.com`,
	)
}

func TestHiddenMistakesOfFiles(t *testing.T) {
	f := hidden(t)
	f("a file that is no YAML, and others", []string{
		goodApp + "routes: [{match: {prefix: /}, to: app, timeout: 5}]\n",
		"routes:\n  - {name: a\n",
		"routes: [{match: {prefix: /c}, to: elsewhere, use: [unseen], timeuot: 5s}]\nroutes: []\n",
	},
		"2:49: the duration 5 has no unit; write for example 5ms, 5s or 5m",
		"b:2:5: invalid YAML: could not find flow mapping end token '}'",
		`c:1:62: routes[1]: unknown key "timeuot" (did you mean "timeout"?)`,
		`c:2:1: the key "routes" stands here a second time; the first is in line 1`,
	)
	f("a process file that is no YAML", []string{
		"listeners: {web\n",
		"routes: [{match: {prefix: /c, listeners: [inside]}, to: elsewhere, use: [unseen], timeout: 5}]\n",
	},
		"1:13: invalid YAML: could not find flow map content",
		"b:1:92: the duration 5 has no unit; write for example 5ms, 5s or 5m",
	)
	f("variables that are not set", []string{goodApp + lines(
		`admin: {address: "${PITHEAD_NONE}", hosts: ["x y"]}`,
		`routes:`,
		`  - {match: {prefix: "${PITHEAD_NONE}"}, to: app, timeout: 5, use: [{cors: {allow_origins: ["${PITHEAD_NONE}"], max_age: -1s}}]}`,
		`  - {match: {prefix: /b}, to: "${PITHEAD_NONE}", use: [cache, gone]}`,
	)},
		"2:18: the environment variable PITHEAD_NONE is not set; ${PITHEAD_NONE:-default} gives it a default",
		`2:45: "x y" is no host`,
		"4:22: the environment variable PITHEAD_NONE is not set; ${PITHEAD_NONE:-default} gives it a default",
		"4:60: the duration 5 has no unit; write for example 5ms, 5s or 5m",
		"4:93: the environment variable PITHEAD_NONE is not set; ${PITHEAD_NONE:-default} gives it a default",
		"4:122: the duration -1s is negative",
		"5:31: the environment variable PITHEAD_NONE is not set; ${PITHEAD_NONE:-default} gives it a default",
		"5:63: no block named \"gone\" under `middleware`",
	)
}

func TestHiddenMistakesOfInheritance(t *testing.T) {
	f := hidden(t)
	f("settings that are inherited", one(
		`consul: {wait: 10ms, tagz: x}`,
		`upstreams:`,
		`  a: {discover: {consul: {service: a, wait: 20ms, tag: x}}}`,
		`  b: {discover: {consul: {servic: b}}}`,
		`  c: {discover: {consul: {}}}`,
	),
		"1:16: must be 1s to 10m, not 10ms",
		`1:22: unknown key "tagz" (did you mean "tags"?)`,
		"3:45: must be 1s to 10m, not 20ms",
		`3:51: unknown key "tag" (did you mean "tags"?)`,
		`4:27: unknown key "servic" (did you mean "service"?)`,
		"5:18: service: is required: the name of the service in Consul",
	)
	f("pages of the top level", one(
		`error_pages: {pages: [{statuses: [200], html: x}, {statuses: [404], html: {file: no.html}}, {statuses: [500], json: {fil: x}}]}`,
	),
		`1:35: "200" is no error status; write for example 503, 502-504 or 5xx`,
		"1:82: stat no.html: no such file or directory",
		`1:118: pages[2].json: unknown key "fil" (did you mean "file"?)`,
	)
}
