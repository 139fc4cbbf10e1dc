package config

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// picture is all that a load shows of itself.
func picture(c *Config, err error) string {
	var out strings.Builder
	if err != nil {
		fmt.Fprintf(&out, "error: %v\n", err)
	}
	if c == nil || err != nil {
		return out.String()
	}
	fmt.Fprintf(&out, "%v\n%s", c.Warnings, c.Redacted())
	for _, r := range c.Routes {
		fmt.Fprintf(&out, "%s to %s at %v, %v, %v: %s\n", r.Name, r.To, c.Pos(r), c.Pos(&r.To), r.Timeout, c.Fingerprint(&r.Match))
		fmt.Fprintln(&out, c.Errorf(&r.To, "who is %s", r.To))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		fmt.Fprintf(&out, "%s at %v: %s\n", name, c.Pos(c.Upstreams[name]), c.Fingerprint(c.Upstreams[name]))
	}
	fmt.Fprintf(&out, "%q", c.Admin.Token.Reveal())
	return out.String()
}

// TestRereadIsLikeRead changes files of a configuration at random and wants each
// reading that builds on the one before to be what a cold one is: settings,
// places, errors, and what is hidden of secrets. Readings that were good offer what
// they have decoded to the next one.
func TestRereadIsLikeRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pithead.yaml")
	random := rand.New(rand.NewPCG(1, 2))
	t.Setenv("REREAD_TO", "a")
	process := []string{
		"include: [\"*.route.yaml\"]\nadmin: {token: \"${file:token}\"}\n",
		"# shorter\ninclude: [\"*.route.yaml\"]\nadmin: {token: \"very-secret\"}\n",
		"include: [\"*.route.yaml\", none.yaml]\nadmin: {token: \"${file:token}\"}\n",
		"include: [\"*.route.yaml\"]\nadmin: {token: [very-secret]}\n",
	}
	routes := []string{
		"routes:\n  - {name: %[1]s, match: [{path: /n%[1]s}, {path: /m%[1]s, query: {a: b}}], use: [{respond: {body: x}}], to: a}\n",
		"upstreams: {%[1]s: {discover: {static: {targets: [\"127.0.0.1:1\"]}}}}\nroutes: [{match: {prefix: /%[1]s}, to: %[1]s}]\n",
		"routes:\n  - &base {name: %[1]s, match: {path: /x%[1]s}, to: \"${REREAD_TO}\"}\n  - {<<: *base, name: %[1]s2, match: {path: /y%[1]s}}\n",
		"routes: [{name: same, match: {prefix: /z%[1]s}, to: \"${REREAD_TO:-a}\", timeout: \"${REREAD_TIME}\"}]\n",
		"routes: [{name: %[1]s, match: {prefix: /q%[1]s}, to: nobody}]\n",
		"routes: [{name: %[1]s, match: {prefix: /%[1]s, to: a}]\n",
		"routes: [{name: %[1]s, match: {path: /t%[1]s}, to: a, timeout: very-secret}]\n",
		"middleware: {m%[1]s: {headers: {}}}\n", "# nothing\n", "\xff", "a: *b\n",
	}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("pithead.yaml", process[0])
	put("token", "very-secret\n")
	put("a.route.yaml", fmt.Sprintf(routes[1], "a"))
	var before *Files
	loaded, shared := 0, 0
	for round := range 400 {
		switch name := string(rune('b' + random.IntN(4))); random.IntN(8) {
		case 0:
			put("pithead.yaml", process[random.IntN(3)+random.IntN(2)])
		case 1:
			put("token", []string{"very-secret\n", "other-secret\n", "abc"}[random.IntN(3)])
		case 2:
			t.Setenv("REREAD_TO", []string{"a", "a", "b", "very-secret"}[random.IntN(4)])
		case 3:
			t.Setenv("REREAD_TIME", []string{"1s", "2s", "x"}[random.IntN(3)])
		case 4, 5:
			if err := os.Remove(filepath.Join(dir, name+".route.yaml")); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		default:
			text := routes[random.IntN(4)]
			if random.IntN(6) == 0 {
				text = routes[random.IntN(len(routes))]
			}
			put(name+".route.yaml", strings.ReplaceAll(text, "%[1]s", name))
		}
		again, err := before.Reread(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(again)
		cold, coldErr := Load(path)
		if diff := cmp.Diff(picture(cold, coldErr), picture(c, err)); diff != "" {
			t.Fatalf("round %d (-cold +reread):\n%s", round, diff)
		}
		if err == nil {
			c.Offer()
			loaded++
		}
		shared += sharedFiles(before, again)
		before = again
	}
	if loaded < 40 || shared < 400 {
		t.Errorf("of 400 configurations %d were good, %d files were shared: too few to prove anything", loaded, shared)
	}
}

func sharedFiles(a, b *Files) (n int) {
	if a == nil {
		return 0
	}
	for _, s := range b.files {
		for _, old := range a.files {
			if s == old {
				n++
			}
		}
	}
	return n
}

// TestRereadParsesOnlyWhatChanged counts trees, not time.
func TestRereadParsesOnlyWhatChanged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pithead.yaml")
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("pithead.yaml", "include: [\"r.*.yaml\"]\nupstreams: {u: {discover: {static: {targets: [\"127.0.0.1:1\"]}}}}\n")
	for i := range 100 {
		put(fmt.Sprintf("r.%03d.yaml", i), fmt.Sprintf("routes: [{name: r%d, match: {path: /%d}, to: u, timeout: \"${NO_SUCH:-1s}\"}]\n", i, i))
	}
	first, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	put("r.000a.yaml", "routes: [{name: more, match: {path: /more}, to: u}]\n") // moves those behind it
	put("r.050.yaml", "routes: [{name: r50, match: {path: /other}, to: u}]\n")
	second, err := first.Reread(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	if got := sharedFiles(first, second); got != 100 {
		t.Errorf("%d of 102 files were taken over, want 100", got)
	}
	if len(c.Routes) != 101 || len(old.Routes) != 100 || c.Routes[1].Name != "more" {
		t.Errorf("%d routes after %d", len(c.Routes), len(old.Routes))
	}
}

// TestOffer: what the next configuration takes over is the same value, and stands
// where it stood.
func TestOffer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pithead.yaml")
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("pithead.yaml", "include: [\"*.route.yaml\"]\nupstreams: {u: {discover: {static: {targets: [\"127.0.0.1:1\"]}}}}\n")
	put("a.route.yaml", "routes:\n  - {name: a, match: {path: /a}, to: u, timeout: 7s}\n")
	put("b.route.yaml", "routes:\n  - {name: b, match: {path: /b}, to: u}\n")
	var files *Files
	load := func() *Config {
		t.Helper()
		var err error
		if files, err = files.Reread(path); err != nil {
			t.Fatal(err)
		}
		c, err := Parse(files)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := load()
	if second := load(); first.Routes[0] == second.Routes[0] {
		t.Error("a route was taken over that nobody has offered")
	}
	first.Offer()
	put("b.route.yaml", "routes:\n  - {name: b, match: {path: /b2}, to: u}\n")
	put("0.route.yaml", "routes:\n  - {name: zero, match: {path: /zero}, to: u}\n")
	next := load()
	if first.Routes[0] != next.Routes[1] || first.Upstreams["u"] != next.Upstreams["u"] || first.Routes[1] == next.Routes[2] {
		t.Error("want the route and the upstream of files that stay the same to be taken over, and no others")
	}
	for _, c := range []*Config{first, next} {
		i := slices.IndexFunc(c.Routes, func(r *Route) bool { return r.Name == "a" })
		if got, want := c.Pos(&c.Routes[i].Timeout), (Pos{filepath.Join(dir, "a.route.yaml"), 2, 50}); got != want {
			t.Errorf("the timeout stands at %v, want %v", got, want)
		}
	}

	if text := next.Errorf(&next.Routes[1].To, "told").Error(); !strings.Contains(text, "a.route.yaml:2:38: told") {
		t.Errorf("a mistake in what was taken over is told as %q", text)
	}
}

// TestRereadOver: a look at a file of which a part is as it was.
func TestRereadOver(t *testing.T) {
	long := strings.Repeat("a: 1 # some bytes\n", 2000)
	path := filepath.Join(t.TempDir(), "p.yaml")
	f := func(name, before, now string) {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(now), 0o600); err != nil {
				t.Fatal(err)
			}
			old := []byte(before)
			got, err := readFile(path, old)
			if err != nil || string(got) != now || string(old) != before {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(now))
			}
			if before == now && len(now) > 0 && &got[0] != &old[0] {
				t.Error("what is the same was copied")
			}
		})
	}
	f("new", "", long)
	f("the same", long, long)
	f("emptied", long, "")
	f("both empty", "", "")
	f("cut off", long, long[:len(long)-9])
	f("cut off between two looks", long, long[:8<<10])
	f("longer", long, long+"b: 2\n")
	f("another first byte", long, "b"+long[1:])
	f("another last byte", long, long[:len(long)-1]+"b")
	f("another byte in the middle", long, long[:20_000]+"b"+long[20_001:])
}

// TestRereadIsCheap: files that are the same are read and nothing more.
func TestRereadIsCheap(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"p.yaml": "include: [\"r.*\"]\n", "r.yaml": "routes: [] # " + strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "p.yaml")
	files, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := files.Sum()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const looks = 20
	for range looks {
		if files, err = files.Reread(path); err != nil || files.Sum() != sum {
			t.Fatalf("another reading, %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / looks; got > 64<<10 {
		t.Errorf("a look at files that are the same takes %d bytes", got)
	}
}
