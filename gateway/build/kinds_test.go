package build

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pithead/pithead/configs"
	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway/balance"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/middleware"
)

// Every registered kind is listed, with a description and an example that can
// be pasted into a file and works. The test's own kinds have neither.
func TestKinds(t *testing.T) {
	all, err := Kinds()
	if err != nil {
		t.Fatal(err)
	}
	var names, want []string
	for _, k := range all {
		names = append(names, k.Table+" "+k.Name)
	}
	for _, table := range []struct {
		noun  string
		names []string
	}{
		{"middleware", middleware.Kinds.Names()},
		{"discovery source", discovery.Kinds.Names()},
		{"balancing policy", balance.Kinds.Names()},
	} {
		for _, name := range table.names {
			want = append(want, table.noun+" "+name)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("the kinds are %q, want %q", names, want)
	}
	for _, name := range []string{"middleware canary", "discovery source static", "discovery source file", "discovery source consul", "balancing policy round_robin", "balancing policy least_request"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s", name)
		}
	}
	s := schema(t)
	for _, k := range all {
		if k.Name == "probe" || k.Name == "memory" {
			continue
		}
		t.Run(k.Table+" "+k.Name, func(t *testing.T) {
			prose, example := kind.Example(k.Docs[k.Type.Name()])
			if prose == "" || example == "" {
				t.Fatal("it has no description or no example")
			}
			for _, s := range config.Describe(k.Type, k.Defaults, k.Docs) {
				if s.Doc == "" {
					t.Errorf("%s has no description", s.Name)
				}
			}
			checkExample(t, s, k.Table, example)
		})
	}
}

// checkExample compiles an example in its place.
func checkExample(t *testing.T, s *jsonschema.Schema, table, example string) {
	t.Helper()
	text, _ := inPlace(table, example)
	p := newProcess(t)
	p.name = filepath.Join("..", "..", "configs", "grpc", "pithead.yaml") // beside the documents that examples name
	p.compile(text)
	if err := s.Validate(jsonOf(t, []byte(text))); err != nil {
		t.Error(err)
	}
}

// inPlace is a configuration with an example in it, and the line where that begins.
func inPlace(table, example string) (text string, line int) {
	indented := func(by string) string { return by + strings.ReplaceAll(example, "\n", "\n"+by) + "\n" }
	source := "    discover: {static: {targets: [\"127.0.0.1:9000\"]}}\n"
	if strings.HasPrefix(example, "grpc_") || strings.HasPrefix(example, "connect_") { // what makes gRPC calls asks for HTTP/2
		source += "    protocol: h2c\n"
	}
	arms := "    arms: {stable: {tag: s}, canary: {tag: c}}\n"
	before, after := "upstreams:\n  auth: {discover: {static: {targets: [\"192.0.2.8:80\"]}}}\n  orders:\n", "" // as examples call them
	switch table {
	case "discovery source":
		before, example, after = before+"    discover:\n", indented("      "), arms
	case "balancing policy":
		before, example = before+source+arms+"    balance:\n", indented("      ")
	default:
		before, example = before+source+arms+"middleware:\n  it:\n", indented("    ")
	}
	text = before + example + after + "routes:\n  - match: {prefix: /}\n    to: orders\n"
	if table == "middleware" {
		text += "    use: [{probe: {proves: [subject]}}, it]\n"
	}
	return text, strings.Count(before, "\n") + 1
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("pithead.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("pithead.json") // checks it against the 2020-12 meta-schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// jsonOf is a YAML text as a validator wants it.
func jsonOf(t *testing.T, text []byte) any {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestSchema(t *testing.T) {
	s := schema(t)
	f := func(text, want string) {
		t.Helper()
		err := s.Validate(jsonOf(t, []byte(text)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
	f(`{lissteners: {}}`, "'lissteners' not allowed")
	f(`{upstreams: {a: {discover: {statik: {}}}}}`, "'statik' not allowed")
	f(`{upstreams: {a: {discover: {static: {target: []}}}}}`, "'target' not allowed")
	f(`{upstreams: {a: {discover: {static: {targets: []}}, balance: {least_request: {choice: 3}}}}}`, "'choice' not allowed")
	f(`{middleware: {c: {canary: {headr: x}}}}`, "'headr' not allowed")
	f(`{routes: [{match: {prefix: /}, to: a, use: [{canery: {}}]}]}`, "'canery' not allowed")
	f(`{consul: {tagz: x}}`, "'tagz' not allowed")
	f(`{routes: [{to: a}]}`, "missing property 'match'")
}

// The examples are what a newcomer starts with: each one compiles, and editors
// that know the schema have nothing against it.
func TestConfigs(t *testing.T) {
	p := newProcess(t)
	for _, name := range []string{"example.com", "example.org", "clients"} {
		p.pair(name, "", name, "*."+name)
		p.write(name+".pem", p.read(name+".crt"))
	}
	p.write("consul.token", []byte("not-a-token\n"))
	t.Setenv("CERTS", filepath.Dir(p.name))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../configs")); err != nil {
		t.Fatal(err)
	}
	s := schema(t)
	n := 0
	err := fs.WalkDir(configs.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		t.Run(path, func(t *testing.T) {
			text, err := configs.Files.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(jsonOf(t, text)); err != nil {
				t.Error(err)
			}
			cfg, err := config.Load(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			snap, err := Compile(cfg, p.Env)
			if err != nil {
				t.Fatal(err)
			}
			if len(cfg.Warnings) > 0 {
				t.Errorf("warnings: %v", cfg.Warnings)
			}
			p.close(snap)
		})
		return nil
	})
	if err != nil || n < 9 {
		t.Errorf("%d files, %v", n, err)
	}
	if p.Pool.Len() != 0 {
		t.Errorf("%d values are left", p.Pool.Len())
	}
}

// A bare name in use is a named block, else a kind with its defaults.
func TestBareNames(t *testing.T) {
	p := newProcess(t)
	names := func(text string) []string {
		t.Helper()
		var all []string
		for _, step := range p.compile(text).routes[0].steps {
			all = append(all, step.name+"="+strings.TrimPrefix(step.Explain(nil, nil), "probes as "))
		}
		return all
	}
	const route = "routes: [{match: {prefix: /}, to: a, use: [probe]}]\n"
	if got := names(oneUpstream + route); !slices.Equal(got, []string{"probe="}) {
		t.Errorf("the kind: %q", got)
	}
	if got := names("middleware: {probe: {probe: {name: bare}}}\n" + oneUpstream + route); !slices.Equal(got, []string{"probe=bare"}) {
		t.Errorf("the named block: %q", got)
	}
	if got := names("middleware: {b: probe}\n" + oneUpstream + strings.Replace(route, "[probe]", "[b]", 1)); !slices.Equal(got, []string{"b="}) {
		t.Errorf("the named block with defaults: %q", got)
	}
	if _, err := Compile(p.parse(oneUpstream+"routes: [{match: {prefix: /}, to: a, use: [nothing]}]\n"), p.Env); err == nil {
		t.Error("an unknown name was taken")
	} else if _, ok := errors.AsType[config.Errors](err); !ok {
		t.Errorf("the error is a %T", err)
	}
}
