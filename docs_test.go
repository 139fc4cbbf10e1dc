package pithead_test

import (
	"crypto/x509"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pithead/pithead/configs"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/test/certtest"
)

// compile builds everything that a start would build.
func compile(files *config.Files) error {
	cfg, err := config.Parse(files)
	if err != nil {
		return err
	}
	pool := keep.NewPool()
	snap, err := build.Compile(cfg, build.Env{Pool: pool, Log: slog.New(slog.DiscardHandler), Metrics: obs.NewMetrics(obs.Build{})})
	if err != nil {
		return err
	}
	return snap.Close()
}

// Every file in configs/ is a configuration that starts.
func TestConfigsLoad(t *testing.T) {
	t.Setenv("CERTS", certificates(t, "example.com", "example.org", "clients"))
	err := fs.WalkDir(configs.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		t.Run(name, func(t *testing.T) {
			files, err := config.Read(filepath.Join("configs", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := compile(files); err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every YAML fence in every document is a configuration that starts.
func TestFencesLoad(t *testing.T) {
	t.Setenv("CERTS", certificates(t, "example.com", "example.org", "clients"))
	fences := 0
	for _, doc := range documents(t) {
		for i, fence := range yamlFences(t, doc) {
			fences++
			if err := compile(config.FilesOf(doc, []byte(fence))); err != nil {
				t.Errorf("%s, YAML fence %d: %v", doc, i+1, err)
			}
		}
	}
	if fences < 6 {
		t.Errorf("only %d YAML fences found", fences)
	}
}

// documents are all Markdown files of the project.
func documents(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && d.Name() != "."
		if d.IsDir() && (hidden || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func yamlFences(t *testing.T, doc string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var fence []string
	inside := false
	for line := range strings.SplitSeq(string(text), "\n") {
		switch {
		case !inside && strings.TrimSpace(line) == "```yaml":
			inside, fence = true, nil
		case inside && strings.TrimSpace(line) == "```":
			inside = false
			all = append(all, strings.Join(fence, "\n")+"\n")
		case inside:
			fence = append(fence, line)
		}
	}
	return all
}

// Links between documents lead somewhere.
func TestLinksLead(t *testing.T) {
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "](") {
			target, _, ok := strings.Cut(part, ")")
			target, _, _ = strings.Cut(target, "#")
			if !ok || target == "" || strings.Contains(target, "://") || strings.ContainsAny(target, " \n`") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), target)); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
}

// certificates writes NAME.pem and NAME.key for each name into a new folder, and
// a token for Consul.
func certificates(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "consul.token"), []byte("not-a-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		cert, key := certtest.Pair(t, &x509.Certificate{DNSNames: []string{name, "*." + name}})
		for file, data := range map[string][]byte{name + ".pem": cert, name + ".key": key} {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}
