package config

import (
	"fmt"
	"os"
	"path/filepath"
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

// TestDiffOfManyFiles: most routes are in files that both configurations share.
func TestDiffOfManyFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("p.yaml", "include: [\"r.*.yaml\"]\nupstreams: {u: {discover: {static: {targets: [\"127.0.0.1:1\"]}}}}\n")
	file := func(n int, routes ...string) {
		text := "routes:\n"
		for _, name := range routes {
			text += fmt.Sprintf("  - {name: %[1]s, match: {prefix: /%[1]s}, to: u}\n", name)
		}
		write(fmt.Sprintf("r.%d.yaml", n), text)
	}
	file(1, "a", "b")
	file(2, "c", "d")
	file(3, "e", "f")
	path := filepath.Join(dir, "p.yaml")
	files, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, change func(), want Changes) {
		t.Run(name, func(t *testing.T) {
			old.Offer()
			change()
			var err error
			if files, err = files.Reread(path); err != nil {
				t.Fatal(err)
			}
			next, err := Parse(files)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, Diff(old, next)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			old = next
		})
	}
	changed := func(numbers ...int) (c Change) {
		for _, n := range numbers {
			c.Changed = append(c.Changed, filepath.Join(dir, fmt.Sprintf("r.%d.yaml", n)))
		}
		return c
	}
	f("nothing", func() {}, Changes{})
	f("one in the middle", func() { file(2, "c", "d1") },
		Changes{Files: changed(2), Routes: Change{Added: []string{"d1"}, Removed: []string{"d"}}})
	f("from the first file to the last", func() { file(1, "b"); file(3, "e", "f", "a") }, Changes{Files: changed(1, 3), Order: true})
	f("fewer at the end", func() { file(3, "e") }, Changes{Files: changed(3), Routes: Change{Removed: []string{"a", "f"}}})
	f("more at the beginning", func() { file(1, "g", "b") }, Changes{Files: changed(1), Routes: Change{Added: []string{"g"}}})
}
