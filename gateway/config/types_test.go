package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every setting is described where it is declared, and what its comment says of
// being required is what the decoder does.
func TestTypes(t *testing.T) {
	docs, err := Docs()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{rootType: true}
	for todo := []reflect.Type{rootType}; len(todo) > 0; {
		typ := todo[0]
		todo = todo[1:]
		if docs[typ.Name()] == "" {
			t.Errorf("%s has no doc comment", typ.Name())
		}
		for f := range typ.Fields() {
			checkField(t, typ, f, docs[typ.Name()+"."+f.Name])
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner.PkgPath() == rootType.PkgPath() && inner != blockType.Elem() && !seen[inner] {
				seen[inner] = true
				todo = append(todo, inner)
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d types were seen", len(seen))
	}
}

func checkField(t *testing.T, typ reflect.Type, f reflect.StructField, doc string) {
	t.Helper()
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case name == "":
		t.Errorf("%s.%s has no yaml tag", typ.Name(), f.Name)
	case doc == "":
		t.Errorf("%s.%s has no doc comment", typ.Name(), f.Name)
	case strings.HasSuffix(doc, "Required.") != slices.Contains(strings.Split(options, ","), "required"):
		t.Errorf("%s.%s: the comment %q and the tag %q disagree about being required", typ.Name(), f.Name, doc, options)
	}
}

// The defaults that the comments promise are those that SetDefaults makes.
func TestDefaultsAsPromised(t *testing.T) {
	docs, err := Docs()
	if err != nil {
		t.Fatal(err)
	}
	byWord := map[string]bool{"none": true, "off": true}
	checked := 0
	for _, s := range Describe(rootType, nil, docs) {
		_, promise, ok := strings.Cut(s.Doc, "Default: ")
		if !ok {
			continue
		}
		promise = strings.Trim(strings.TrimSuffix(strings.Split(promise, ". ")[0], "."), "`")
		if byWord[promise] || strings.ContainsAny(promise, " ,'") || s.Type == "a block" {
			continue // words about a default that other settings decide
		}
		checked++
		want := map[string]string{"60s": "1m", "75s": "1m15s", "300s": "5m"}[promise]
		if want == "" {
			want = promise
		}
		if s.Default != want {
			t.Errorf("%s: promised %q, is %q", s.Name, promise, s.Default)
		}
	}
	if checked < 30 {
		t.Errorf("only %d defaults were checked", checked)
	}
}
