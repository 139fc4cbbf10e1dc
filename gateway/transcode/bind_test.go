package transcode

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const library = `syntax = "proto3";
package library.v1;
import "google/api/annotations.proto";
service Shelves {
  rpc GetBook(GetBookRequest) returns (Book) {
    option (google.api.http) = {
      get: "/v1/{name=shelves/*/books/*}"
      additional_bindings {get: "/v1/books/{name=**}"}
      additional_bindings {post: "/v1/{name=shelves/*/books/*}:fetch" body: "*"}
    };
  }
}
message GetBookRequest { string name = 1; }
message Book { string name = 1; repeated string tags = 2; }
`

func schemaOf(t testing.TB, proto string) *Schema {
	t.Helper()
	s, err := compileText(t, proto)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func compileText(t testing.TB, proto string) (*Schema, error) {
	t.Helper()
	return CompileProtos(context.Background(), []string{write(t, "library.proto", proto)}, nil, nil)
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func documentOf(t testing.TB, paths string) (*Document, error) {
	t.Helper()
	return ReadDocument(write(t, "api.yaml", "openapi: 3.1.0\ninfo: {title: a, version: '1'}\npaths:\n"+paths))
}

func TestMatchAnnotations(t *testing.T) {
	base := "/api"
	table, err := Bind(nil, schemaOf(t, library), Options{BasePath: &base})
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Bindings) != 3 || table.Bindings[0].Pos.Line == 0 {
		t.Errorf("%d bindings, the first at %s", len(table.Bindings), table.Bindings[0].Pos)
	}
	for _, tt := range []struct {
		method, path, template, value, allow string
	}{
		{"GET", "/api/v1/shelves/1/books/2", "/api/v1/{name=shelves/*/books/*}", "shelves/1/books/2", ""},
		{"HEAD", "/api/v1/shelves/1/books/2", "/api/v1/{name=shelves/*/books/*}", "shelves/1/books/2", ""},
		{"GET", "/api/v1/shelves/a%2Fb/books/2", "/api/v1/{name=shelves/*/books/*}", "shelves/a%2Fb/books/2", ""},
		{"POST", "/api/v1/shelves/1/books/2:fetch", "/api/v1/{name=shelves/*/books/*}:fetch", "shelves/1/books/2", ""},
		{"GET", "/api/v1/shelves/1/books/2:fetch", "/api/v1/{name=shelves/*/books/*}", "shelves/1/books/2:fetch", ""},
		{"GET", "/api/v1/books/a/b/c", "/api/v1/books/{name=**}", "a/b/c", ""},
		{"DELETE", "/api/v1/books/a", "", "", "GET HEAD"},
		{"GET", "/api/v1/shelves//books/2", "", "", ""},
		{"GET", "/v1/books/a", "", "", ""},
		{"GET", "/api/v1/shelves/1/books/2/3", "", "", ""},
		{"GET", strings.Repeat("/a", 100), "", "", ""},
	} {
		call, vars, allow := table.Match(tt.method, tt.path)
		template, value := "", ""
		if call != nil {
			template, value = call.Template(), vars[0]
		}
		if template != tt.template || value != tt.value || strings.Join(allow, " ") != tt.allow {
			t.Errorf("%s %s: %q %q, allows %q", tt.method, tt.path, template, value, allow)
		}
	}
}

func TestBindByName(t *testing.T) {
	for _, id := range []string{
		"operationId: Shelves_GetBook", "operationId: Shelves.GetBook", "operationId: library.v1.Shelves.GetBook",
		"x-grpc-method: library.v1.Shelves/GetBook", "operationId: other, x-grpc-method: library.v1.Shelves.GetBook",
	} {
		doc, err := documentOf(t, "  /b/{name}: {get: {"+id+", parameters: [{name: name, in: path, required: true, schema: {type: string}}]}}\n  /c: {get: {operationId: nobody}}\n")
		if err != nil {
			t.Fatal(err)
		}
		table, err := Bind(doc, schemaOf(t, library), Options{})
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if len(table.Bindings) != 1 || table.Bindings[0].Path() != "/library.v1.Shelves/GetBook" || len(table.Unbound) != 1 || table.Unbound[0].Path != "/c" {
			t.Errorf("%s: %d bindings, %d unbound", id, len(table.Bindings), len(table.Unbound))
		}
	}
	t.Run("the annotation of the same path", func(t *testing.T) {
		doc, err := documentOf(t, "  /v1/books/{name=**}: {get: {operationId: read}}\n")
		if err != nil {
			t.Fatal(err)
		}
		if table, err := Bind(doc, schemaOf(t, library), Options{}); err != nil || len(table.Bindings) != 1 {
			t.Error(table, err)
		}
	})
}

func TestBindMistakes(t *testing.T) {
	two := library + "service Other { rpc GetBook(GetBookRequest) returns (Book); }\n"
	for _, tt := range []struct{ name, paths, want string }{
		{"unknown method", "  /a: {get: {x-grpc-method: library.v1.Shelves/No}}\n", `api.yaml:4:8: x-grpc-method: there is no method "library.v1.Shelves/No"; write package.Service/Method`},
		{"slip in an operationId", "  /a: {get: {operationId: Shelves_Get}}\n", `api.yaml:4:8: operationId "Shelves_Get": service library.v1.Shelves has no method "Get"`},
		{"same path twice", "  /a/{x}: {get: {operationId: Shelves_GetBook, parameters: [{name: x, x-grpc-field: name, in: path, required: true}]}}\n" +
			"  /a/{name}: {get: {operationId: Other_GetBook}}\n", "is ambiguous: "},
		{"no such field", "  /a/{id}: {get: {operationId: Shelves_GetBook}}\n", `path parameter "id": `},
		{"query without a field", "  /a: {get: {operationId: Shelves_GetBook, parameters: [{name: id, in: query}]}}\n", `query parameter "id" at `},
		{"part of a segment", "  /a/{name}.json: {get: {operationId: Shelves_GetBook}}\n", "a parameter is a whole segment"},
		{"nothing bound", "  /a: {get: {operationId: a}}\n", "no operation names a gRPC method"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := documentOf(t, tt.paths)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = Bind(doc, schemaOf(t, two), Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("ambiguous across packages", func(t *testing.T) {
		dir := t.TempDir()
		for _, pkg := range []string{"a", "b"} {
			text := "syntax = \"proto3\";\npackage " + pkg + ";\nmessage M {}\nservice S { rpc Get(M) returns (M); }\n"
			if err := os.WriteFile(filepath.Join(dir, pkg+".proto"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := CompileProtos(t.Context(), []string{filepath.Join(dir, "a.proto"), filepath.Join(dir, "b.proto")}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := documentOf(t, "  /a: {get: {operationId: S_Get}}\n")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Bind(doc, s, Options{}); err == nil || !strings.Contains(err.Error(), `operationId "S_Get" is ambiguous: a.S.Get or b.S.Get`) {
			t.Error(err)
		}
	})
	t.Run("syntax of a .proto", func(t *testing.T) {
		if _, err := compileText(t, "syntax = \"proto3\";\nmessage {"); err == nil || !strings.Contains(err.Error(), "library.proto:2:9") {
			t.Error(err)
		}
	})
}

func TestReadDocumentHostile(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"B23 cycle of references", "openapi: 3.0.0\ninfo: {title: a, version: '1'}\npaths: {}\ncomponents: {schemas: {A: {$ref: '#/components/schemas/B'}, B: {$ref: '#/components/schemas/A'}}}\n", ""},
		{"B23 50 MB", "openapi: 3.0.0\n" + strings.Repeat("# comment\n", 5<<20), "larger than"},
		{"B23 content parameter without a schema", "openapi: 3.0.0\ninfo: {title: a, version: '1'}\npaths: {/a: {get: {parameters: [{name: a, in: query, content: {application/json: }}]}}}\n", ""},
		{"reference to the network", "openapi: 3.0.0\ninfo: {title: a, version: '1'}\npaths: {/a: {$ref: 'http://127.0.0.1:1/a.yaml'}}\n", "not followed"},
		{"reference out of the folder", "openapi: 3.0.0\ninfo: {title: a, version: '1'}\npaths: {/a: {$ref: '../../../../../../etc/hostname'}}\n", "outside the folder"},
		{"another version", "openapi: 2.0.0\ninfo: {title: a, version: '1'}\npaths: {}\n", "must be 3.0 or 3.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadDocument(write(t, "api.yaml", tt.text))
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Error(err)
			}
		})
	}
	t.Run("B22 security is remembered", func(t *testing.T) {
		doc, err := documentOf(t, "  /a: {get: {security: [{bearer: []}]}, post: {security: [{bearer: []}, {}]}, put: {security: []}}\n")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, op := range doc.Operations {
			got[op.Method] = op.Secured
		}
		if diff := cmp.Diff(map[string]bool{"GET": true, "POST": false, "PUT": false}, got); diff != "" {
			t.Error(diff)
		}
	})
}
