package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/config"
)

const oneUpstream = `upstreams:
  a: {discover: {static: {targets: ["127.0.0.1:9000"]}}}
`

// lines joins the lines of a file.
func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }

func TestMistakes(t *testing.T) {
	f := func(name, text string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			p := newProcess(t)
			if diff := cmp.Diff(want, p.mistakes(text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	route := func(use string) string {
		return oneUpstream + "routes:\n  - {match: {prefix: /}, to: a, use: [" + use + "]}\n"
	}
	f("log in a folder that is not there", oneUpstream+"access_log: {output: /no/such/folder/log}\n",
		`3:22: the folder of the log: stat /no/such/folder: no such file or directory`)
	f("log that is a folder", oneUpstream+"access_log: {output: /}\n", `3:22: / is a folder; name a file in it`)
	f("authorities that never end", lines(
		`upstreams:`,
		`  a:`,
		`    discover: {static: {targets: ["127.0.0.1:9000"]}}`,
		`    protocol: https`,
		`    tls: {ca: /dev/zero}`,
	), `5:15: /dev/zero is no regular file`)
	f("unknown source", lines(
		`upstreams:`,
		`  a:`,
		`    discover: {statik: {targets: ["127.0.0.1:9000"]}}`,
	), `3:16: unknown discovery source "statik" (did you mean "static"?)`)
	f("unknown policy", lines(
		`upstreams:`,
		`  a:`,
		`    discover: {static: {targets: ["127.0.0.1:9000"]}}`,
		`    balance: least-requests`,
	), `4:14: unknown balancing policy "least-requests" (did you mean "least_request"?)`)
	f("unknown middleware", route(`{canery: {}}`), `4:40: unknown middleware "canery" (did you mean "canary"?)`)
	f("unknown middleware without a near one", route(`{zzzzzz: {}}`), `4:40: unknown middleware "zzzzzz"`)
	f("unknown named block", "middleware: {partner: {probe: {}}}\n"+route(`partnr`),
		"5:39: no block named \"partnr\" under `middleware` (did you mean \"partner\"?)")
	f("unknown kind of a named block that nobody uses", "middleware: {b: {prob: {}}}\n"+route(``),
		`1:18: unknown middleware "prob" (did you mean "probe"?)`)
	f("bad setting of a named block that nobody uses", "middleware: {b: {probe: {name: forbidden}}}\n"+route(``),
		`1:32: that name is forbidden`)
	f("bad setting of a named block that two routes use", lines(
		`middleware: {b: {probe: {nme: x}}}`,
		`upstreams: {a: {discover: {static: {targets: ["127.0.0.1:9000"]}}}}`,
		`routes:`,
		`  - {match: {prefix: /1}, to: a, use: [b]}`,
		`  - {match: {prefix: /2}, to: a, use: [b]}`,
	), `1:26: unknown key "nme" (did you mean "name"?)`)
	f("unknown setting of a source", lines(
		`upstreams:`,
		`  a: {discover: {static: {target: ["127.0.0.1:9000"]}}}`,
	), `2:27: unknown key "target" (did you mean "targets"?)`)
	f("bad address of a target", lines(
		`upstreams:`,
		`  a: {discover: {static: {targets: ["127.0.0.1"]}}}`,
	), `2:37: address: "127.0.0.1" is not host:port`)
	f("a source that cannot be built", lines(
		`upstreams:`,
		`  a: {discover: {memory: {id: nobody}}}`,
	), `2:31: no source "nobody"`)
	f("bad setting of a policy", lines(
		`upstreams:`,
		`  a:`,
		`    discover: {static: {targets: ["127.0.0.1:9000"]}}`,
		`    balance: {least_request: {choices: 1}}`,
	), `4:40: must be between 2 and 16`)
	f("a consul without a service", lines(
		`consul: {address: "http://127.0.0.1:1"}`,
		`upstreams:`,
		`  a: {discover: {consul: {}}}`,
	), `3:18: service: is required: the name of the service in Consul`)
	f("a mistake in settings that are inherited", lines(
		`consul: {wait: 10ms}`,
		`upstreams:`,
		`  a: {discover: {consul: {service: a}}}`,
	), `1:16: must be 1s to 10m, not 10ms`)
	f("a mistake in consul settings that nobody inherits", "consul: {tagz: x}\n"+oneUpstream,
		`1:10: unknown key "tagz" (did you mean "tags"?)`)
	f("a step that cannot be built", route(`{probe: {reject: no luck, at: reject}}`), `4:56: no luck`)
	f("an arm that the upstream does not have", lines(
		`upstreams: {a: {discover: {static: {targets: ["127.0.0.1:9000"]}}, arms: {stable: {tag: s}}}}`,
		`routes:`,
		`  - {match: {prefix: /}, to: a, use: [{canary: {split: {stable: 9, canary: 1}}}]}`,
	), `3:76: upstream "a" has no arm "canary"; define it under upstreams.a.arms, or here under arms`)
	f("an arm that is an unknown upstream", lines(
		`upstreams: {a: {discover: {static: {targets: ["127.0.0.1:9000"]}}}}`,
		`routes:`,
		`  - match: {prefix: /}`,
		`    to: a`,
		`    use: [{canary: {split: {stable: 9, canary: 1}, arms: {stable: {}, canary: {to: b}}}}]`,
	), `5:84: unknown upstream "b"`)
}

func TestMistakesOfOrder(t *testing.T) {
	f := func(name, use string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			text := lines(
				`middleware: {who: {probe: {proves: [subject]}}, needy: {probe: {needs: [subject]}}, gradual: {canary: {}}}`,
				`upstreams: {a: {discover: {static: {targets: ["127.0.0.1:9000"]}}, arms: {stable: {tag: s}, canary: {tag: c}}}}`,
				`routes:`,
				`  - match: {prefix: /}`,
				`    to: a`,
				`    use: [`+use+`]`,
			)
			if diff := cmp.Diff(want, newProcess(t).mistakes(text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	const canary = `{canary: {sticky: subject, split: {stable: 1, canary: 1}}}`
	f("I19: sticky by subject without anything that proves one", canary,
		"6:12: canary needs a proven subject, and nothing before it in `use` proves one")
	f("what proves it comes too late", canary+", who",
		"6:12: canary needs a proven subject, and nothing before it in `use` proves one")
	f("what proves it comes first", "who, "+canary)
	f("a named block that needs it", "needy", "6:11: needy needs a proven subject, and nothing before it in `use` proves one")
	f("each block that needs it", "needy, "+canary,
		"6:11: needy needs a proven subject, and nothing before it in `use` proves one",
		"6:19: canary needs a proven subject, and nothing before it in `use` proves one")
	f("a second canary, which would always overrule the first", "{canary: {}}, {canary: {split: {stable: 1, canary: 1}}}",
		"6:26: a second canary in `use` always overrules the first; keep one of them")
	f("a second canary by name", "gradual, needy, who, gradual",
		"6:20: needy needs a proven subject, and nothing before it in `use` proves one",
		"6:32: a second canary in `use` always overrules the first; keep one of them")
	const breaker = `{circuit_breaker: {fallback: {cache: stale}}}`
	const alone = "circuit_breaker relies on a `cache` before it in `use`, and there is none; put one there"
	f("a fallback to no cache", breaker, "6:12: "+alone)
	f("a fallback to a cache that comes too late", breaker+", cache", "6:12: "+alone)
	f("a fallback to a cache", "cache, "+breaker)
	f("a fallback to a cache that is broken", "{cache: {wait: 2m}}, "+breaker, "6:26: 2m0s is not from 0s to 1m")
	f("what might have proven it is broken", "{probe: {reject: broken}}, "+canary, "6:12: broken")
}

func TestMistakesOfMatches(t *testing.T) {
	f := func(name, match string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			text := oneUpstream + "routes:\n  - to: a\n    match: {" + match + "}\n"
			if diff := cmp.Diff(want, newProcess(t).mistakes(text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	f("an escape that is none", `path: "/v1/%zz"`, `5:19: "/v1/%zz": a percent sign must begin an escape such as %20`)
	f("a star in a prefix", `prefix: "/v1/*"`, `5:21: "/v1/*": a star is no wildcard in a path; write prefix: /v1, or %2A for the star itself`)
	f("a group in a parameter", `path: "/v1/{a:(b)}"`, `5:19: {a:(b)}: write groups as (?:...)`)
	f("an address in brackets", `prefix: /, host: "[10.0.0.1]"`, `5:30: "[10.0.0.1]": a host has no scheme, port or path here`)
	f("one of several hosts", `prefix: /, hosts: [a.example, "[10.0.0.1]"]`, `5:43: "[10.0.0.1]": a host has no scheme, port or path here`)
	f("the host as a header", `prefix: /, headers: {host: example.com}`,
		`5:24: the host is matched by host, not as a header`)
	f("a header in two spellings", `prefix: /, headers: {x-a: "1", X-A: "2"}`,
		`5:24: "X-A" is given twice`)
}

// C11: what a listener or an upstream is to prove or to trust is there and
// whole, or the whole configuration is refused.
func TestMistakesOfCertificates(t *testing.T) {
	p := newProcess(t)
	p.pair("good", "", "good.example")
	p.pair("other", "", "other.example")
	p.write("empty.pem", nil)
	p.write("text.pem", []byte("this is no certificate\n"))
	whole := string(p.read("good.crt"))
	p.write("cut.pem", []byte(whole+whole[:len(whole)/2]))
	p.write("garbage.pem", []byte(whole+"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	p.write("two.pem", []byte("# first\n"+whole+"\n# second\n"+whole))
	dir := filepath.Dir(p.name)

	listener := func(name, cert string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			text := "listeners: {w: {address: \":1\", tls: {certificates: [{" + cert + "}]}}}\n" + oneUpstream
			if diff := cmp.Diff(want, p.mistakes(text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	listener("C11: a good pair", `cert: good.crt, key: good.key`)
	listener("C11: both files are missing", `cert: no.crt, key: no.key`,
		"1:60: open "+filepath.Join(dir, "no.crt")+": no such file or directory",
		"1:73: open "+filepath.Join(dir, "no.key")+": no such file or directory")
	listener("C11: the key is another's", `cert: good.crt, key: other.key`,
		"1:53: good.crt with other.key: tls: private key does not match public key")
	listener("C11: the files are exchanged", `cert: good.key, key: good.crt`,
		"1:53: good.key with good.crt: tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched")
	listener("C11: the key is empty", `cert: good.crt, key: empty.pem`,
		"1:53: good.crt with empty.pem: tls: failed to find any PEM data in key input")

	trust := func(name, tls string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			text := lines(`upstreams:`, `  a:`, `    discover: {static: {targets: ["127.0.0.1:9000"]}}`, `    protocol: https`, `    tls: {`+tls+`}`)
			if diff := cmp.Diff(want, p.mistakes(text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	trust("C11: a good CA", `ca: good.crt`)
	trust("C11: two of them", `ca: two.pem`)
	trust("C11: the CA is missing", `ca: no.pem`, "5:15: open "+filepath.Join(dir, "no.pem")+": no such file or directory")
	trust("C11: the CA is a folder", `ca: .`, "5:15: . is no regular file")
	trust("C11: the CA is empty", `ca: empty.pem`, "5:15: certificate 1 of empty.pem cannot be read")
	trust("C11: the CA is text", `ca: text.pem`, "5:15: certificate 1 of text.pem cannot be read")
	trust("C11: the second of them is cut off", `ca: cut.pem`, "5:15: certificate 2 of cut.pem cannot be read")
	trust("C11: the second of them is garbage", `ca: garbage.pem`, "5:15: block 2 of garbage.pem, a CERTIFICATE, is no certificate")
	trust("C11: the CA is a key", `ca: good.key`, "5:15: block 1 of good.key, a PRIVATE KEY, is no certificate")
	trust("C11: the certificate to show is another's", `ca: good.crt, certificate: {cert: good.crt, key: other.key}`,
		"5:25: good.crt with other.key: tls: private key does not match public key")
	trust("C11: both are wrong", `ca: no.pem, certificate: {cert: no.crt, key: good.key}`,
		"5:15: open "+filepath.Join(dir, "no.pem")+": no such file or directory",
		"5:43: open "+filepath.Join(dir, "no.crt")+": no such file or directory")
}

// What config refuses never gets to Compile.
func TestMistakesThatParseFinds(t *testing.T) {
	f := func(name, text, want string) {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse(config.FilesOf("pithead.yaml", []byte(text)))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	f("tls for a http upstream", lines(`upstreams:`, `  a: {discover: {static: {targets: ["127.0.0.1:9000"]}}, tls: {ca: x}}`),
		"pithead.yaml:2:58: needs protocol: https")
	f("an unknown encoding", oneUpstream+"routes: [{match: {prefix: /}, to: a, allow_encoded: [slosh]}]\n",
		`pithead.yaml:3:54: "slosh" is not known here (did you mean "slash"?)`)
	f("a route to nowhere", oneUpstream+"routes: [{match: {prefix: /}, to: b}]\n", `pithead.yaml:3:35: unknown upstream "b"`)
	f("a bad expression", oneUpstream+"routes: [{match: {path_regex: \"/(\"}, to: a}]\n", `pithead.yaml:3:31: error parsing regexp`)
	f("a limit of nothing", oneUpstream+"listeners: {w: {address: \":1\", limits: {cookies: 0}}}\n", `0 is not between 1 and 10000`)
}

// Every mistake is told at once, in the order of the files and of their lines,
// and what follows from another one is not.
func TestAllMistakesAtOnce(t *testing.T) {
	p := newProcess(t)
	routes := filepath.Join(filepath.Dir(p.name), "routes.yaml")
	cfg, err := config.Parse(config.FilesOf(p.name, []byte(lines(
		`listeners: {w: {address: ":1", tls: {certificates: [{cert: no.crt, key: no.key}]}}}`,
		`upstreams:`,
		`  a: {discover: {statik: {}}}`,
		`  b: {discover: {static: {targets: ["127.0.0.1:9000"]}}, balance: fair, protocol: https, tls: {ca: no.pem}}`,
		`  c: {discover: {static: {targets: ["127.0.0.1:9000"]}}}`,
		`middleware: {lost: {prob: {}}}`,
	))).With(routes, []byte(lines(
		`routes:`,
		`  - {match: {prefix: /1}, to: a, use: [{probe: {nme: x}}, {probe: {reject: also asked}}, nobody]}`,
		`  - {match: {prefix: /2}, to: c, use: [{probe: {ask: b}}, {probe: {reject: asked, at: reject}}, lost]}`,
		`  - {match: {prefix: /3, headers: {host: x}}, to: c}`,
	))))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Compile(cfg, p.Env)
	var got []string
	for line := range strings.Lines(err.Error()) {
		if name, rest, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(name, filepath.Dir(p.name)) {
			place := strings.TrimPrefix(name, filepath.Dir(p.name)+string(os.PathSeparator))
			got = append(got, place+": "+strings.ReplaceAll(strings.TrimSpace(rest), filepath.Dir(p.name)+"/", ""))
		}
	}
	want := []string{
		`pithead.yaml:1:60: open no.crt: no such file or directory`,
		`pithead.yaml:1:73: open no.key: no such file or directory`,
		`pithead.yaml:3:18: unknown discovery source "statik" (did you mean "static"?)`,
		`pithead.yaml:4:67: unknown balancing policy "fair"`,
		`pithead.yaml:4:100: open no.pem: no such file or directory`,
		`pithead.yaml:6:21: unknown middleware "prob" (did you mean "probe"?)`,
		`routes.yaml:2:49: unknown key "nme" (did you mean "name"?)`,
		`routes.yaml:2:60: also asked`,
		"routes.yaml:2:90: no block named \"nobody\" under `middleware`",
		`routes.yaml:3:76: asked`,
		`routes.yaml:4:26: the host is matched by host, not as a header`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
