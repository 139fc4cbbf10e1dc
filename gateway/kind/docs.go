package kind

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strings"
)

// Docs are the doc comments of the struct types of a package: "Type" for a
// type, "Type.Field" for a field, with Go field names.
type Docs map[string]string

// ReadDocs reads the doc comments from Go source, usually embedded in the
// binary with `//go:embed *.go`. That makes the comment in the code the only
// place where a setting is described.
func ReadDocs(source fs.FS) (Docs, error) {
	files, err := fs.Glob(source, "*.go")
	if err != nil {
		return nil, fmt.Errorf("list source files: %w", err)
	}
	docs := make(Docs)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return nil, fmt.Errorf("read source: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Base(name), text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse source: %w", err)
		}
		docs.addFile(file)
	}
	return docs, nil
}

func (d Docs) addFile(file *ast.File) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			ts := spec.(*ast.TypeSpec)
			doc := ts.Doc
			if doc == nil && len(gen.Specs) == 1 {
				doc = gen.Doc
			}
			d[ts.Name.Name] = strings.TrimSpace(doc.Text())
			if st, ok := ts.Type.(*ast.StructType); ok {
				d.addFields(ts.Name.Name, st)
			}
		}
	}
}

func (d Docs) addFields(typeName string, st *ast.StructType) {
	for _, field := range st.Fields.List {
		text := strings.TrimSpace(field.Doc.Text())
		if text == "" {
			text = strings.TrimSpace(field.Comment.Text())
		}
		for _, name := range field.Names {
			d[typeName+"."+name.Name] = text
		}
	}
}

// Example cuts the indented YAML block out of a doc comment. prose is the
// comment without it; example is "" when there is none.
func Example(doc string) (prose, example string) {
	var text, code []string
	for line := range strings.Lines(doc) {
		line = strings.TrimRight(line, "\n")
		if indented, ok := strings.CutPrefix(line, "\t"); ok {
			code = append(code, indented)
		} else {
			text = append(text, line)
		}
	}
	return strings.TrimSpace(strings.Join(text, "\n")), strings.Join(code, "\n")
}
