package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const shortest = `upstreams: {a: {discover: {static: {targets: ["127.0.0.1:9000"]}}}}
routes:
  - {match: {prefix: /}, to: a}
`

// parseFails parses text, which must fail, within a budget of allocated bytes.
func parseFails(t *testing.T, text, want string, budget uint64) {
	t.Helper()
	var before, after runtime.MemStats
	files := FilesOf("x.yaml", []byte(text))
	runtime.ReadMemStats(&before)
	_, err := Parse(files)
	runtime.ReadMemStats(&after)
	errs, _ := errors.AsType[Errors](err)
	if len(errs) == 0 {
		t.Fatal("no error")
	}
	if !strings.Contains(errs[0].Msg, want) {
		t.Errorf("got %q, want %q", errs[0].Msg, want)
	}
	for _, e := range errs {
		checkInside(t, e, []byte(text))
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > budget {
		t.Errorf("%d KiB allocated, %d KiB are enough", used>>10, budget>>10)
	}
}

const mib = 1 << 20

func TestHostile(t *testing.T) {
	for _, levels := range []int{6, 9} {
		t.Run(fmt.Sprintf("C01 alias bomb of %d levels", levels), func(t *testing.T) {
			var bomb strings.Builder
			bomb.WriteString("l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
			for i := range levels {
				fmt.Fprintf(&bomb, "l%d: &l%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d, ", i), 9), ", "))
			}
			parseFails(t, bomb.String(), "the aliases up to here stand for more than 262144 values", mib)
		})
	}
	t.Run("C01 alias bomb by merging", func(t *testing.T) {
		var bomb strings.Builder
		bomb.WriteString("m0: &m0 {a: [1, 2, 3, 4, 5, 6, 7, 8]}\n")
		for i := range 30 {
			fmt.Fprintf(&bomb, "m%d: &m%d {x: *m%d, y: *m%d, <<: *m%d}\n", i+1, i+1, i, i, i)
		}
		parseFails(t, bomb.String(), "the aliases up to here stand for more than", mib)
	})
	for name, text := range map[string]string{
		"open brackets":          strings.Repeat("[", 20_000),
		"open braces":            strings.Repeat("{", 20_000),
		"brackets and braces":    strings.Repeat("[{a: ", 10_000),
		"closed brackets":        strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
		"dashes in one line":     strings.Repeat("- ", 20_000),
		"brackets below a block": "a:\n  b:\n    c: " + strings.Repeat("[", 20_000),
		"maps, line by line":     staircase(200),
	} {
		t.Run("C02 20,000 deep, "+name, func(t *testing.T) {
			parseFails(t, text, "nested deeper than 64 levels", 16*mib)
		})
	}
}

func TestBounds(t *testing.T) {
	t.Run("C05 empty file", func(t *testing.T) {
		parseFails(t, "", "the file is empty", mib)
		parseFails(t, "\uFEFF", "the file is empty", mib)
		parseFails(t, " \n\n  \n", "the file is empty", mib)
		parseFails(t, "# only\n# comments\n", "nothing but comments", mib)
	})
	t.Run("C08 file over 8 MiB", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "big.yaml")
		if err := os.WriteFile(path, []byte(shortest+strings.Repeat("#\n", 25*mib)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), "larger than 8 MiB") {
			t.Errorf("got %v", err)
		}
		files, _ := Read(path)
		if n := len(files.files[0].data); n > maxFile+1 {
			t.Errorf("%d bytes were read", n)
		}
	})
	t.Run("C08 more tokens than a file can mean", func(t *testing.T) {
		parseFails(t, "a: ["+strings.Repeat("1,", 4*mib-10)+"]", "split it with include", 64*mib)
		parseFails(t, strings.Repeat("&a ", 2*mib), "split it with include", 64*mib)
	})
	t.Run("C10 regular expressions", func(t *testing.T) {
		f := func(pattern, want string) {
			t.Helper()
			err := checkPattern(pattern)
			if got := fmt.Sprint(err); !strings.Contains(got, want) {
				t.Errorf("%.40s: got %s, want %s", pattern, got, want)
			}
		}
		f("(a+)+$", "<nil>") // RE2 is linear
		f(strings.Repeat("a", 1025), "longer than 1024 bytes")
		f("(abcdefghijkl){900}", "more than 10000 steps")
		f("((a{100}){100}){100}", "invalid repeat count")
		f("(?=a)", "invalid or unsupported Perl syntax")
	})
	t.Run("C16 a schema version", func(t *testing.T) {
		parseFails(t, shortest+"version: 1\n", "see its changelog", mib)
	})
	t.Run("a key of a megabyte", func(t *testing.T) {
		parseFails(t, strings.Repeat("k", mib)+": {a: 1, b: 2}\n", "a key is longer than 1024 bytes", 64*mib)
	})
	t.Run("more keys than the library can bear", func(t *testing.T) {
		parseFails(t, strings.Repeat("k:\n", 50_000), "a map has more than 10000 keys", 64*mib)
	})
	t.Run("anchors in a row", func(t *testing.T) {
		parseFails(t, "a: "+strings.Repeat("&a ", 20_000), "two anchors for one value", 32*mib)
	})
}

// staircase nests maps the way people write them.
func staircase(n int) string {
	var out strings.Builder
	for i := range n {
		out.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return out.String()
}

// C07: each of these means one thing, and the same whatever YAML version a
// reader has in mind.
func TestSpellings(t *testing.T) {
	base := strings.ReplaceAll(shortest, "\n", "\r\n")
	t.Run("C07 CRLF", func(t *testing.T) {
		c, err := Parse(FilesOf("x.yaml", []byte(base+"admin: {hosts: [x]}\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		if c.Admin.Hosts[0] != "x" || c.Pos(&c.Admin.Hosts[0]) != (Pos{"x.yaml", 4, 17}) {
			t.Errorf("got %q at %v", c.Admin.Hosts, c.Pos(&c.Admin.Hosts[0]))
		}
	})
	t.Run("C07 BOM", func(t *testing.T) {
		c, err := Parse(FilesOf("x.yaml", []byte("\uFEFF"+shortest)))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Pos(&c.Upstreams); got != (Pos{"x.yaml", 1, 1}) {
			t.Errorf("upstreams stand at %v", got)
		}
	})
	for _, word := range []string{"010", "0x10", "1e3", "yes", "no", "null-ish", "12:30", "1.20", "true", "2026-01-01"} {
		t.Run("C07 text "+word, func(t *testing.T) {
			c, err := Parse(FilesOf("x.yaml", []byte(shortest+"consul: {}\nadmin: {hosts: []}\naccess_log: {output: "+word+"}\n")))
			if err != nil {
				t.Fatal(err)
			}
			if c.AccessLog.Output != word {
				t.Errorf("got %q", c.AccessLog.Output)
			}
		})
	}
}

// C06, N9: a file that was cut anywhere is an error with a place or a smaller
// configuration, never a panic.
func TestTruncated(t *testing.T) {
	data, err := os.ReadFile("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for n := range data {
		_, err := Parse(FilesOf("x.yaml", data[:n]))
		if err == nil {
			accepted++
			continue
		}
		errs, ok := errors.AsType[Errors](err)
		if !ok {
			t.Fatalf("%d bytes: %v", n, err)
		}
		for _, e := range errs {
			checkInside(t, e, data[:n])
		}
	}
	// Strictness alone is no guard against half a file: that is why a reload
	// waits for two identical reads and refuses to lose many routes.
	t.Logf("%d of %d prefixes are configurations of their own", accepted, len(data))
}

func manyRoutes(n int) []byte {
	var out strings.Builder
	out.WriteString("upstreams:\n  orders: {discover: {static: {targets: [\"127.0.0.1:9000\"]}}}\nroutes:\n")
	for i := range n {
		fmt.Fprintf(&out, "  - name: r%d\n    match: {host: api.example.com, path: \"/v1/orders/%d/{id}\", methods: [GET, POST]}\n"+
			"    use:\n      - partner\n      - rate_limit: {rate: 100/s, burst: 200, key: subject}\n    to: orders\n", i, i)
	}
	return []byte(out.String())
}

func TestManyRoutes(t *testing.T) {
	t.Run("C15 10,000 routes", func(t *testing.T) {
		c, err := Parse(FilesOf("x.yaml", manyRoutes(10_000)))
		if err != nil {
			t.Fatal(err)
		}
		last := c.Routes[9_999]
		if got := c.Pos(&last.To); len(c.Routes) != 10_000 || got != (Pos{"x.yaml", 60_003, 9}) {
			t.Errorf("%d routes, the last leads to its upstream at %v", len(c.Routes), got)
		}
	})
}

func BenchmarkParse10000Routes(b *testing.B) {
	files := FilesOf("x.yaml", manyRoutes(10_000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(files); err != nil {
			b.Fatal(err)
		}
	}
}
