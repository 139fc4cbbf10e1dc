package transcode

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLintNothing(t *testing.T) {
	schema, err := CompileProtos(t.Context(), []string{"../../configs/grpc/orders.proto"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := ReadDocument("../../configs/grpc/orders.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	table, err := Bind(doc, schema, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if found := Lint(table); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

func TestLint(t *testing.T) {
	const proto = `syntax = "proto3";
package l;
service S { rpc Put(M) returns (M); rpc Idle(M) returns (M); }
enum E { E_ZERO = 0; E_ONE = 1; }
message M { string s = 1; int32 i = 2; int64 wide = 3; uint32 u = 4; float f = 5; double d = 6; E e = 7; repeated string list = 8; map<string, int32> map = 9; M inner = 10; bool b = 11; }
`
	file := filepath.Join(t.TempDir(), "l.yaml")
	property := func(name, schema string) string { return "                " + name + ": " + schema + "\n" }
	frame := func(request, answer string) string {
		return `openapi: 3.1.0
info: {title: T, version: "1"}
paths:
  /free: {get: {operationId: free, responses: {"200": {description: x}}}}
  /m:
    put:
      operationId: S_Put
      requestBody:
        content:
          application/json:
            schema:
              type: object
              properties:
` + request + `      responses:
        "200":
          description: x
          content:
            application/json:
             schema:
              type: object
              required: [s]
              properties:
` + answer
	}
	const ok = "{type: string}"
	for _, tt := range []struct{ name, request, answer, want string }{
		{"unmapped_operation", property("s", ok), property("s", ok), "l.yaml:4:11: warning GET /free names no method; clients get 404 (unmapped_operation)"},
		{"no_operation", property("s", ok), property("s", ok), "l.proto:3:37: warning no operation calls l.S.Idle (no_operation)"},
		{"required of an answer", property("s", ok), property("s", ok), "l.yaml:20:14: warning s is required, but answers leave it out when it has no value; emit_defaults writes zeros too (required)"},
		{"type_clash of scalars", property("s", "{type: integer}"), property("s", ok), "l.yaml:14:17: error s is string, which is a text in JSON, not integer (type_clash)"},
		{"type_clash of a list", property("list", "{type: string}"), property("s", ok), "l.yaml:14:17: error list is repeated, not string (type_clash)"},
		{"type_clash of a map", property("map", "{type: array, items: {type: string}}"), property("s", ok), "error map is a map, not array (type_clash)"},
		{"type_clash of a message", property("inner", "{type: string}"), property("s", ok), "error l.M is a message, not string (type_clash)"},
		{"type_clash of a bool", property("b", "{type: integer}"), property("s", ok), "error b is a bool, not integer (type_clash)"},
		{"type_clash within", property("inner", "{type: object, properties: {inner: {type: object, properties: {b: {type: string}}}}}"), property("s", ok), "error b is a bool, not string (type_clash)"},
		{"lossy_number int64 in requests", property("wide", "{type: integer}"), property("s", ok), "warning wide is int64, but writers of JSON numbers may lose digits beyond 2^53; write type: string, format: int64 (lossy_number)"},
		{"lossy_number int64 in answers", property("s", ok), property("wide", "{type: integer, format: int64}"), "warning wide is int64, which answers have as a text since readers of JSON lose digits beyond 2^53; write type: string, format: int64 (lossy_number)"},
		{"lossy_number float", property("f", "{type: number, format: double}"), property("s", ok), "warning f is a float; digits of a double are lost (lossy_number)"},
		{"lossy_number double", property("s", ok), property("d", "{type: number, format: float}"), "warning d is a double; a reader of floats loses digits (lossy_number)"},
		{"lossy_number uint", property("u", "{type: integer}"), property("s", ok), "warning u is uint32; negative values are refused. Write minimum: 0 (lossy_number)"},
		{"lossy_number int32", property("i", "{type: integer, format: int64}"), property("s", ok), "warning i is int32; values beyond 32 bits are refused (lossy_number)"},
		{"enum in requests", property("e", "{type: string, enum: [E_TWO]}"), property("s", ok), "error e: the enum l.E has no value E_TWO (enum)"},
		{"enum in answers", property("s", ok), property("e", "{type: string, enum: [E_ZERO]}"), "warning e: answers may have E_ONE, which the document does not list (enum)"},
		{"unknown_field in requests", property("colour", ok), property("s", ok), "error requests with colour are refused: l.M has no such field (unknown_field)"},
		{"unknown_field in answers", property("s", ok), property("colour", ok), "warning colour never comes: l.M has no such field (unknown_field)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(frame(tt.request, tt.answer)), 0o600); err != nil {
				t.Fatal(err)
			}
			doc, err := ReadDocument(file)
			if err != nil {
				t.Fatal(err)
			}
			table, err := Bind(doc, compileAs(t, "l.proto", proto), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := findings(Lint(table)); !strings.Contains(got, tt.want) {
				t.Errorf("no %s in\n%s", tt.want, got)
			}
		})
	}
}

func findings(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		severity := "warning "
		if f.Error {
			severity = "error "
		}
		pos := f.Pos
		pos.File = filepath.Base(pos.File)
		b.WriteString(pos.String() + ": " + severity + f.Message + " (" + f.Rule + ")\n")
	}
	return b.String()
}

func compileAs(t *testing.T, name, text string) *Schema {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := CompileProtos(t.Context(), []string{file}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCompare(t *testing.T) {
	const was = `syntax = "proto3";
package c;
service S { rpc Get(A) returns (B); rpc Old(A) returns (B); rpc Watch(A) returns (B); rpc Swap(A) returns (B); }
service Gone {}
message A { string kept = 1; string removed = 2; int32 number = 3; string typed = 4; string named = 5; string one = 6; string freed = 7; }
message B { enum E { ZERO = 0; ONE = 1; TWO = 2; } E e = 1; }
message C {}
`
	const is = `syntax = "proto3";
package c;
service S { rpc Get(A) returns (B); rpc Watch(A) returns (stream B); rpc Swap(A) returns (A); rpc New(A) returns (B); }
message A { string kept = 1; int32 number = 30; repeated string typed = 4; string called = 5; oneof o { string one = 6; string more = 8; } string freed = 7; string added = 9; }
message B { enum E { ZERO = 0; ONE = 3; } E e = 1; }
`
	want := strings.TrimSpace(`
c.proto:3:1: error the method c.S.Old is gone (breaking_change)
c.proto:3:37: error the answers of c.S.Watch have become a stream (breaking_change)
c.proto:3:70: error c.S.Swap answers c.A, not c.B any more (breaking_change)
c.proto:4:1: error the field c.A.removed (2) is gone (breaking_change)
c.proto:4:1: error the service c.Gone is gone (breaking_change)
c.proto:4:30: error the field c.A.number had the number 3, not 30 (breaking_change)
c.proto:4:49: error the field c.A.typed was string, not repeated string (breaking_change)
c.proto:4:76: error the field 5 of c.A was called named, not called (breaking_change)
c.proto:4:105: error the field c.A.one has moved into the oneof o (breaking_change)
c.proto:5:13: error the value TWO of c.B.E is gone (breaking_change)
c.proto:5:32: error the value ONE of c.B.E was 1, not 3 (breaking_change)
c.proto:7:1: error the message c.C is gone (breaking_change)`)
	earlier, now := compileAs(t, "c.proto", was), compileAs(t, "c.proto", is)
	got := strings.TrimSpace(findings(Compare(earlier, now)))
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Error(diff)
	}
	if same := Compare(now, now); len(same) > 0 {
		t.Errorf("a schema breaks itself: %v", same)
	}
}
