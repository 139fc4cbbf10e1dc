package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Programs that run check tell findings from mistakes by the exit status.
func TestCheckStatus(t *testing.T) {
	f := func(to, public string, want int, flags ...string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "pithead.yaml")
		text := "listeners: {web: {address: \"127.0.0.1:8080\"}}\nupstreams: {app: {discover: {static: {targets: [\"127.0.0.1:9000\"]}}}}\n" +
			"routes: [{match: {prefix: /}, to: " + to + ", public: " + public + "}]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := run(t.Context(), append([]string{"check", path}, flags...), io.Discard, io.Discard); got != want {
			t.Errorf("to %s, public %s, %q: status %d, want %d", to, public, flags, got, want)
		}
	}
	f("app", "false", 0)
	f("app", "false", 2, "--lint")
	f("app", "false", 2, "--lint", "--format", "json")
	f("app", "true", 0, "--lint")
	f("gone", "true", 1, "--lint")
	f("gone", "true", 1, "--lint", "--format", "json")
}
