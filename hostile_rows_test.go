package pithead_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hostileRows are the requirements on who may pass and on the edge around it, by letter and
// the number of the last one: J of tokens, K of what decides about them, I of identity
// headers, P of paths, A of browsers and the admin API.
var hostileRows = map[string]int{"J": 36, "K": 18, "I": 24, "P": 22, "A": 8}

var hostileRow = regexp.MustCompile(`\b[JKIPA][0-9]{2}\b`)

// Every requirement is the name of a test or stands in what one says when it fails.
func TestEveryHostileRowHasATest(t *testing.T) {
	found := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "node_modules" || d.Name() == "testdata"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go") || path == "hostile_rows_test.go":
			return nil
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == gotoken.STRING {
				for _, row := range hostileRow.FindAllString(text.Value, -1) {
					found[row] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for letter, last := range hostileRows {
		for n := range last {
			if row := fmt.Sprintf("%s%02d", letter, n+1); !found[row] {
				t.Errorf("no test names %s", row)
			}
		}
	}
}
