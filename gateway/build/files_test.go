package build

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/config"
)

// Files of named blocks, used or not, and of those in routes, in whatever file
// they stand; blocks with mistakes have none.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pithead.yaml", `
include: [routes.d/*.yaml]
upstreams: {app: {discover: {static: {targets: ["192.0.2.1:80"]}}}}
middleware:
  keys: {api_key: {file: keys.jsonl}}
  unused: {basic_auth: {file: users}}
  wrong: {basic_auth: {file: never, realm: ""}}
  probe: {probe: {name: a}}
routes:
  - {match: {prefix: /a}, to: app, use: [keys, probe, {api_key: {file: /etc/keys.jsonl}}]}
  - {match: {prefix: /b}, to: app, use: [keys, {api_key: {file: keys.jsonl}}, csrf]}
`)
	write("routes.d/c.yaml", `routes: [{match: {prefix: /c}, to: app, use: [{basic_auth: {file: users}}]}]`)
	files, err := config.Read(filepath.Join(dir, "pithead.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/etc/keys.jsonl", filepath.Join(dir, "keys.jsonl"), filepath.Join(dir, "routes.d/users"), filepath.Join(dir, "users")}
	if diff := cmp.Diff(want, Files(cfg)); diff != "" {
		t.Error(diff)
	}
}
