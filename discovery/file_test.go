package discovery

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// fileText writes targets as JSON, which is YAML too.
func fileText(t *testing.T, targets []gateway.Target) string {
	var list []map[string]any
	for _, target := range targets {
		list = append(list, map[string]any{"address": target.Addr, "weight": target.Weight, "tags": target.Tags, "meta": target.Meta})
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newFileSource makes a source that notices changes by the system's notices
// alone, or by polling alone.
func newFileSource(t *testing.T, dir, path string, poll time.Duration, failed func(error)) *fileSource {
	source, err := newFile(FileConfig{Path: path}, Env{Dir: dir, Failed: failed})
	must(t, err)
	s := source.(*fileSource)
	s.poll = poll
	return s
}

// TestFileConformance runs the conformance test once for each way in which a
// file can fail (fault 28) or be replaced.
func TestFileConformance(t *testing.T) {
	run := func(name string, poll time.Duration, replace func(t *testing.T, path, text string), damage func(t *testing.T, path string)) {
		t.Run(name, func(t *testing.T) {
			discoverytest.Run(t, func(t *testing.T, targets []gateway.Target, failed func(error)) discoverytest.Bench {
				path := filepath.Join(t.TempDir(), "endpoints.yaml")
				writeFile(t, path, fileText(t, targets))
				source := newFileSource(t, filepath.Dir(path), "endpoints.yaml", poll, failed)
				source.settle = 20 * time.Millisecond
				return discoverytest.Bench{
					Source: source,
					Set:    func(targets []gateway.Target) { replace(t, path, fileText(t, targets)) },
					Break:  func() { damage(t, path) },
					Mend:   func() { must(t, os.RemoveAll(path)) },
				}
			})
		})
	}
	rename := func(t *testing.T, path, text string) {
		writeFile(t, path+".new", text)
		must(t, os.Rename(path+".new", path))
	}
	text := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) { writeFile(t, path, text) }
	}
	run("written in place, then broken syntax", time.Hour, writeFile, text("- {address: \"10.0.0.1:9000\""))
	run("fault 25 renamed, then fault 28 deleted", time.Hour, rename, func(t *testing.T, path string) { must(t, os.Remove(path)) })
	run("fault 28 replaced by a directory", time.Hour, rename, func(t *testing.T, path string) {
		must(t, os.Remove(path))
		must(t, os.Mkdir(path, 0o700))
	})
	run("fault 28 empty", time.Hour, rename, text(""))
	run("fault 28 empty list", time.Hour, rename, text("[]\n"))
	run("fault 27 polled, then an unknown key", 20*time.Millisecond, rename, text("- {address: \"10.0.0.1:9000\", wieght: 3}\n"))
}

func TestFileConfigMapSwap(t *testing.T) {
	t.Run("fault 26", func(t *testing.T) {
		discoverytest.Run(t, func(t *testing.T, targets []gateway.Target, failed func(error)) discoverytest.Bench {
			dir, generation := t.TempDir(), 0
			swap := func(text string) {
				generation++
				folder := fmt.Sprintf("..%d", generation)
				must(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
				if text != "" {
					writeFile(t, filepath.Join(dir, folder, "endpoints.yaml"), text)
				}
				must(t, os.Symlink(folder, filepath.Join(dir, "..data_tmp")))
				must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			}
			swap(fileText(t, targets))
			must(t, os.Symlink(filepath.Join("..data", "endpoints.yaml"), filepath.Join(dir, "endpoints.yaml")))
			source := newFileSource(t, dir, "endpoints.yaml", time.Hour, failed)
			source.settle = 20 * time.Millisecond
			return discoverytest.Bench{
				Source: source,
				Set:    func(targets []gateway.Target) { swap(fileText(t, targets)) },
				Break:  func() { swap("") },
				Mend:   func() {},
			}
		})
	})
}

// TestFileAppears is the start before the file, and even its folder, is there.
func TestFileAppears(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	failures, sets := make(chan error, 100), make(chan []gateway.Target, 100)
	s := newFileSource(t, dir, "endpoints.yaml", 20*time.Millisecond, func(err error) {
		select {
		case failures <- err:
		default:
		}
	})
	done := make(chan error)
	go func() { done <- s.Watch(t.Context(), func(targets []gateway.Target) { sets <- targets }) }()
	t.Cleanup(func() { <-done })
	<-failures
	must(t, os.Mkdir(dir, 0o700))
	writeFile(t, filepath.Join(dir, "endpoints.yaml"), "- 10.0.0.1:80\n")
	if diff := cmp.Diff([]gateway.Target{{Addr: "10.0.0.1:80", Weight: 1}}, <-sets); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
}

// TestFileSlowWriter is fault 24: whatever is published was a whole file.
func TestFileSlowWriter(t *testing.T) {
	t.Run("fault 24", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "endpoints.yaml")
		writeFile(t, path, "- 10.0.0.1:80\n- 10.0.0.2:80\n")
		sets := make(chan []gateway.Target, 100)
		s := newFileSource(t, "", path, time.Hour, func(err error) { t.Error(err) })
		s.settle = 2 * time.Second // far longer than between two lines, even where the writer has to wait
		done := make(chan error)
		go func() { done <- s.Watch(t.Context(), func(targets []gateway.Target) { sets <- targets }) }()
		t.Cleanup(func() { <-done })
		<-sets
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		ticks := time.NewTicker(50 * time.Millisecond)
		defer ticks.Stop()
		for i := range 60 { // in all longer than that
			_, err := fmt.Fprintf(f, "- 10.0.1.%d:80\n", i+1)
			must(t, err)
			<-ticks.C
		}
		must(t, f.Close())
		if got := <-sets; len(got) != 60 {
			t.Errorf("%d of 60 targets were published", len(got))
		}
	})
}

func TestParseFile(t *testing.T) {
	f := func(text string, want ...gateway.Target) {
		t.Helper()
		got, err := parseFile([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	a := gateway.Target{Addr: "10.0.0.7:9000", Weight: 1}
	b := gateway.Target{Addr: "10.0.0.8:9000", Weight: 3, Zone: "b", Tags: []string{"canary", "x"}, Meta: map[string]string{"version": "v2"}}
	f("- 10.0.0.7:9000\n", a)
	f("targets:\n  - 10.0.0.7:9000\n", a)
	f("# ours\n- 10.0.0.7:9000\n- address: 10.0.0.8:9000\n  weight: 3\n  zone: b\n  tags: [x, canary, x]\n  meta: {version: v2}\n", a, b)
	f(`["10.0.0.7:9000", {"address": "10.0.0.8:9000", "weight": 3, "zone": "b", "tags": ["canary", "x"], "meta": {"version": "v2"}}]`, a, b)
	f("{\n\t\"targets\": [\n\t\t\"10.0.0.7:9000\"\n\t]\n}\n", a)
	f("- {address: \"[2001:db8::1]:80\"}", gateway.Target{Addr: "[2001:db8::1]:80", Weight: 1})
}

func TestParseFileRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := parseFile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: error %v, want %q", text, err, want)
		}
	}
	f("", "one list")
	f("# nothing\n", "one list")
	f("[]", "empty")
	f("targets: []", "empty")
	f("null", "want a list")
	f("10.0.0.7:9000", "want a list")
	f("endpoints: [10.0.0.7:9000]", "want a list")
	f("targets: [a:1]\nother: 1", "want a list")
	f("- a:1\n---\n- b:1\n", "one list")
	f("- {address: a:1, weigth: 3}", `unknown field "weigth"`)
	f("- {address: 'a:1', address: 'b:1'}", "already defined")
	f("- {address: 'a:1', weight: many}", "[1:28]")
	f("- {address: 'a:1', weight: 0}", "targets[0].weight")
	f("- a:1\n- A:1\n", "targets[1].address: a:1 is also targets[0]")
	f("- ~\n", "[1:3] want host:port")
	f("- 80\n", "[1:3] want host:port")
	f("- - a:1\n", "want host:port")
	f("- &x a:1\n- *x\n", "want host:port")
	f("- &x {address: 'a:1'}\n- {<<: *x}\n", "want host:port")
	f("- a:1\xff\n", "UTF-8")
	f("- a:1\x00\n", "UTF-8")
	f(strings.Repeat("[", 20_000), "nested too deeply")
	f("- {meta: "+strings.Repeat("{a: ", 20_000), "nested too deeply")
	f(strings.Repeat("- ", 20_000), "nested too deeply")
	f(strings.Repeat("? ", 20_000), "nested too deeply")
	f("a:\n"+strings.Repeat(" ", 200)+"b: 1\n", "nested too deeply")
	f(strings.Repeat("- a:1\n", maxTargets+1), "more than 10000")
}

func TestReadFileRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "endpoints.yaml")
	writeFile(t, path, strings.Repeat("#\n", fileLimit/2+1))
	if _, err := kind.ReadFile(path, fileLimit); err == nil || !strings.Contains(err.Error(), "larger than 8MiB") {
		t.Errorf("a file over the limit: %v", err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("- 10.0.0.7:9000\n- {address: '10.0.0.8:9000', weight: 3, tags: [a], meta: {b: c}}\n"))
	f.Add([]byte("targets:\n- a:1\n"))
	f.Add([]byte("- &x a:1\n- *x\n- !!str b:1\n- >\n  c:1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		targets, err := parseFile(text)
		if err != nil {
			return
		}
		for _, target := range targets {
			again, err := parseAddress(target.Addr)
			if err != nil || again != target.Addr || target.Weight < 1 || target.Weight > 100 {
				t.Errorf("%q gave the target %+v", text, target)
			}
		}
	})
}
