package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const diffBase = `
admin: {token: first-secret}
listeners: {web: {address: ":8080"}, tls: {address: ":8081"}}
upstreams:
  a: {discover: {static: {targets: ["127.0.0.1:1"]}}}
  b: {discover: {static: {targets: ["127.0.0.1:2"]}}}
middleware: {tag: {headers: {request: {set: {A: "1"}}}}, old: {headers: {}}}
routes:
  - {name: one, match: {prefix: /one}, to: a}
  - {name: two, match: {prefix: /two}, to: b}
  - {name: three, match: {prefix: /three}, to: b}
`

func TestDiff(t *testing.T) {
	f := func(name, old, next string, want Changes) {
		t.Run(name, func(t *testing.T) {
			before, err := Parse(FilesOf("p.yaml", []byte(old)))
			if err != nil {
				t.Fatal(err)
			}
			after, err := Parse(FilesOf("p.yaml", []byte(next)))
			if err != nil {
				t.Fatal(err)
			}
			got := Diff(before, after)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if none := got.None(); none != cmp.Equal(want, Changes{}) {
				t.Errorf("none: %t", none)
			}
		})
	}
	file := Change{Changed: []string{"p.yaml"}}
	f("nothing", diffBase, diffBase, Changes{})
	f("another place, another way to write it", diffBase, "# moved"+`
routes:
  - match: {prefix: "/one"}
    to: a
    name: one
  - {name: two, match: {prefix: "/two"}, to: b}
  - {name: three, match: {prefix: "/three"}, to: b}
middleware: {old: {headers: {}}, tag: {headers: {request: {set: {A: "1"}}}}}
upstreams:
  b: {discover: {static: {targets: ["127.0.0.1:2"]}}}
  a: {discover: {static: {targets: ["127.0.0.1:1"]}}}
listeners: {web: {address: ":8080"}, tls: {address: ":8081"}}
admin: {token: first-secret}
`, Changes{Files: file})
	f("something of everything", diffBase, `
admin: {token: other-secret}
shutdown: {delay: 1s}
listeners: {web: {address: ":8082"}, plain: {address: ":8081"}}
upstreams:
  a: {discover: {static: {targets: ["127.0.0.1:1"]}}, max_idle: 1}
  c: {discover: {static: {targets: ["127.0.0.1:2"]}}}
middleware: {tag: {headers: {request: {set: {A: "2"}}}}, new: {headers: {}}}
routes:
  - {name: three, match: {prefix: /three}, to: c}
  - {name: one, match: {prefix: /one}, to: a}
  - {name: four, match: {prefix: /four}, to: a}
`, Changes{
		Files:      file,
		Routes:     Change{Added: []string{"four"}, Removed: []string{"two"}, Changed: []string{"three"}},
		Upstreams:  Change{Added: []string{"c"}, Removed: []string{"b"}, Changed: []string{"a"}},
		Middleware: Change{Added: []string{"new"}, Removed: []string{"old"}, Changed: []string{"tag"}},
		Listeners:  Change{Added: []string{"plain"}, Removed: []string{"tls"}, Changed: []string{"web"}},
		Settings:   []string{"admin", "shutdown"}, Order: true,
	})
	t.Setenv("DIFF_TO", "a")
	env := "upstreams: {a: {discover: {static: {targets: [\"127.0.0.1:1\"]}}, host: \"${DIFF_TO}\"}}\nroutes: [{name: r, match: {prefix: /}, to: a}]\n"
	before, err := Parse(FilesOf("p.yaml", []byte(env)))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DIFF_TO", "b")
	after, err := Parse(FilesOf("p.yaml", []byte(env)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Changes{Upstreams: Change{Changed: []string{"a"}}}, Diff(before, after)); diff != "" {
		t.Errorf("a variable (-want +got):\n%s", diff)
	}
}
