package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/config"
)

// What a file of secrets holds does not stand in what is told of it.
func TestMistakesShowNoSecrets(t *testing.T) {
	p := newProcess(t)
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.name), "folder"), []byte("/a-folder-that-nobody-is-to-know\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := p.mistakes(lines(`upstreams:`, `  a:`, `    discover: {static: {targets: ["127.0.0.1:9000"]}}`, `    protocol: https`, `    tls: {ca: "${file:folder}/ca.pem"}`))
	want := []string{"5:15: open ${file:folder}/ca.pem: no such file or directory"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Checking a configuration starts nothing, asks nobody and leaves no trace.
func TestCompileHasNoEffect(t *testing.T) {
	p := newProcess(t)
	source := newMemory(t, "effects", "127.0.0.1:1")
	text := lines(
		`consul: {address: "http://127.0.0.1:1"}`,
		`upstreams:`,
		`  a: {discover: {memory: {id: effects}}, health: {path: /}}`,
		`  b: {discover: {consul: {service: b}}}`,
		`  c: {discover: {file: {path: nowhere.yaml}}}`,
		`routes: [{name: fresh, match: {prefix: /}, to: a}]`,
	)
	cfg := p.parse(text)
	snap, err := Compile(cfg, p.Env)
	if err != nil {
		t.Fatal(err)
	}
	if watched, _ := source.counts(); watched != 0 {
		t.Error("the source was started")
	}
	if got := metricsText(t, p.Metrics); strings.Contains(got, "fresh") {
		t.Errorf("the metrics know the route:\n%s", got)
	}
	p.close(snap)
	p.close(snap)
	if n := p.Pool.Len(); n != 0 {
		t.Errorf("%d values are left", n)
	}
	if _, watches := source.counts(); watches != 0 {
		t.Error("the source was started")
	}
}

// A check that is refused takes nothing away from the configuration that runs.
func TestRefusedBesideARunningOne(t *testing.T) {
	p := newProcess(t)
	source := newMemory(t, "beside", "127.0.0.1:1")
	good := "upstreams: {a: {discover: {memory: {id: beside}}}}\n"
	snap := p.start(good)
	before := p.Pool.Len()
	_, err := Compile(p.parse(good+"middleware: {b: {prob: {}}}\n"), p.Env)
	if err == nil {
		t.Fatal("it was not refused")
	}
	if after := p.Pool.Len(); after != before {
		t.Errorf("%d values became %d", before, after)
	}
	if watched, watches := source.counts(); watched != 1 || watches != 1 {
		t.Errorf("the source is watched by %d and was so %d times, want once", watched, watches)
	}
	if n := snap.clusters["a"].Healthy(""); n != 1 {
		t.Errorf("the upstream that runs has %d endpoints", n)
	}
}

// A file that is cut off anywhere, as it is while somebody copies it, is told of
// and does no harm.
func TestMistakesOfCutFiles(t *testing.T) {
	p := newProcess(t)
	whole := lines(
		`listeners: {w: {address: ":1", tls: {certificates: [{cert: no.crt, key: no.key}]}}}`,
		`consul: {address: "http://127.0.0.1:1"}`,
		`upstreams:`,
		`  a:`,
		`    discover: {static: {targets: ["127.0.0.1:9000"]}}`,
		`    protocol: https`,
		`    tls: {ca: no.pem, certificate: {cert: no.crt, key: no.key}}`,
		`    arms: {x: {tag: x}}`,
		`    health:`,
		`      path: /`,
		`  b:`,
		`    discover:`,
		`      consul: {service: b}`,
		`middleware:`,
		`  m:`,
		`    probe: {name: cut}`,
		`routes:`,
		`  - match:`,
		`      host: x`,
		`      path: /`,
		`    use: [m, {canary: {split: {stable: 1, x: 1}}}]`,
		`    to: a`,
	)
	for end := range len(whole) {
		cfg, err := config.Parse(config.FilesOf(p.name, []byte(whole[:end])))
		if err != nil {
			if all := Mistakes(cfg, err, p.Env); !strings.HasPrefix(all.Error(), p.name) {
				t.Errorf("cut at %d: %v", end, all)
			}
		} else if snap, err := Compile(cfg, p.Env); err == nil {
			p.close(snap)
		}
		if n := p.Pool.Len(); n != 0 {
			t.Fatalf("cut at %d: %d values are left", end, n)
		}
	}
}
