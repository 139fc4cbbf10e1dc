package pithead_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pithead/pithead/configs"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
)

// rooms of the kinds by what an entry of their table is called.
var kindRooms = map[string]string{
	"middleware": "middleware", "discovery source": "discovery", "balancing policy": "gateway/balance",
}

// exampleFile is where examples of kinds are thought to stand: beside the documents
// that some of them name.
const exampleFile = "configs/grpc/example.yaml"

// Every kind has a file and a test of its name, a doc comment with an example
// that starts, a comment on each setting, and a place in configs/.
func TestEveryKindIsWhole(t *testing.T) {
	kinds, err := build.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	examples := allConfigs(t)
	for _, k := range kinds {
		t.Run(k.Table+" "+k.Name, func(t *testing.T) {
			for _, file := range []string{k.Name + ".go", k.Name + "_test.go"} {
				if _, err := os.Stat(filepath.Join(kindRooms[k.Table], file)); err != nil {
					t.Errorf("missing: %v", err)
				}
			}
			prose, example := kind.Example(k.Docs[k.Type.Name()])
			if prose == "" || example == "" {
				t.Errorf("%s needs a doc comment with an indented example", k.Type.Name())
			}
			if err := compile(config.FilesOf(exampleFile, []byte(wholeConfig(k.Table, example)))); err != nil {
				t.Errorf("the example does not start:\n%s\n%v", example, err)
			}
			for _, s := range config.Describe(k.Type, k.Defaults, k.Docs) {
				if strings.TrimSpace(s.Doc) == "" {
					t.Errorf("setting %s has no doc comment", s.Name)
				}
			}
			if !regexp.MustCompile(`\b` + k.Name + `\b`).MatchString(examples) {
				t.Errorf("no file in configs/ uses it")
			}
		})
	}
}

// wholeConfig puts the example of a block where such blocks stand.
func wholeConfig(table, example string) string {
	discover, balance, use := "{static: {targets: [\"127.0.0.1:9000\"]}}", "round_robin", "[]"
	if strings.HasPrefix(example, "grpc_") || strings.HasPrefix(example, "connect_") { // what makes gRPC calls asks for HTTP/2
		balance += "\n    protocol: h2c"
	}
	indented := func(indent string) string { return "\n" + indent + strings.ReplaceAll(example, "\n", "\n"+indent) }
	switch table {
	case "middleware":
		use = "\n      - " + strings.ReplaceAll(example, "\n", "\n        ")
	case "discovery source":
		discover = indented("      ")
	case "balancing policy":
		balance = indented("      ")
	}
	return "upstreams:\n  auth: {discover: {static: {targets: [\"192.0.2.8:80\"]}}}\n  orders:\n    arms: {stable: {tag: stable}, canary: {tag: canary}}\n    discover: " + discover +
		"\n    balance: " + balance + "\nroutes:\n  - match: {prefix: /}\n    to: orders\n    use: " + use + "\n"
}

func allConfigs(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	err := fs.WalkDir(configs.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := configs.Files.ReadFile(name)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
