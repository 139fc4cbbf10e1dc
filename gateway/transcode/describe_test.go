package transcode

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
)

// The document that is made of a table is valid, and binds as the table does.
func TestDescribeRoundTrip(t *testing.T) {
	schema := compileAs(t, "every.proto", everyProto)
	shop, err := CompileProtos(t.Context(), []string{"../../configs/grpc/orders.proto"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := ReadDocument("../../configs/grpc/orders.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	base := "/base"
	for name, made := range map[string]struct {
		doc    *Document
		schema *Schema
		o      Options
	}{
		"annotations":          {nil, shop, Options{}},
		"annotations, base":    {nil, shop, Options{BasePath: &base}},
		"document":             {doc, shop, Options{}},
		"every field":          {nil, schema, Options{}},
		"every field, options": {nil, schema, Options{ProtoNames: true, EnumNumbers: true}},
	} {
		t.Run(name, func(t *testing.T) {
			first, err := Bind(made.doc, made.schema, made.o)
			if err != nil {
				t.Fatal(err)
			}
			again := readText(t, describeText(t, first))
			if err := again.T.Validate(context.Background(), openapi3.EnableSchemaPatternValidation()); err != nil {
				t.Fatal(err)
			}
			o := made.o
			o.BasePath = nil
			second, err := Bind(again, made.schema, o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(callsOf(t, first), callsOf(t, second)); diff != "" {
				t.Errorf("the second table is another one: %s", diff)
			}
			for _, f := range Lint(second) {
				if f.Error {
					t.Errorf("lint: %v", f)
				}
			}
		})
	}
}

// callsOf are the calls of a table by method and shape, each with what a request becomes.
func callsOf(t *testing.T, table *Table) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, c := range table.Bindings {
		path := strings.NewReplacer("*", "x").Replace(c.template.shape())
		found, vars, _ := table.Match(c.HTTPMethod, path)
		if found != c {
			t.Fatalf("%s %s finds another call", c.HTTPMethod, path)
		}
		body, query := []byte(nil), sampleQuery[string(c.RPC.Name())]
		if c.Body != "" && !c.RPC.IsStreamingClient() {
			body, query = []byte("{}"), ""
		}
		if c.query["page_size"] != nil { // the document of people has the name of the .proto file
			query = strings.Replace(query, "pageSize", "page_size", 1)
		}
		message, err := c.AppendMessage(nil, &Request{Vars: vars, Query: query, Body: body, ContentType: "application/json"})
		if err != nil {
			t.Fatalf("%s %s: %v", c.HTTPMethod, path, err)
		}
		all[c.HTTPMethod+" "+c.template.shape()] = c.Path() + " " + c.Body + " " + c.ResponseBody + " " + string(message)
	}
	return all
}

var sampleQuery = map[string]string{
	"ListOrders": "pageSize=3&status=STATUS_OPEN&labels[a]=b",
	"Get":        "s=text&i64=9007199254740993&e=E_ONE&list=1&list=2&stamp=2026-01-02T03:04:05Z&wrapped=7&inner.name=x",
}

func describeText(t *testing.T, table *Table) []byte {
	t.Helper()
	text, err := table.Describe("test", []string{"jwt", "api_key"})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readText(t *testing.T, text []byte) *Document {
	t.Helper()
	file := filepath.Join(t.TempDir(), "api.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := ReadDocument(file)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

const everyProto = `syntax = "proto3";
package every;
import "google/api/annotations.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
// Every has one of each.
service Every {
  // Get gets it.
  // In full.
  rpc Get(Everything) returns (Everything) { option (google.api.http) = {get: "/v1/{name=shelves/*/books/*}" additional_bindings {post: "/v1/{id}:get" body: "*"}}; }
  rpc Watch(Everything) returns (stream Everything) { option (google.api.http) = {get: "/v1/watch/{id}"}; }
}
enum E { E_ZERO = 0; E_ONE = 1; }
message Inner { string name = 1; Everything again = 2; }
message Everything {
  string name = 1; string id = 2; string s = 3; bool b = 4; bytes raw = 5; int32 i32 = 6; uint32 u32 = 7; int64 i64 = 8; uint64 u64 = 9;
  float f = 10; double d = 11; E e = 12; repeated int32 list = 13; map<string, Inner> by_name = 14;
  Inner inner = 15; // what is within
  oneof choice { string left = 16; Inner right = 17; int32 middle = 18; }
  google.protobuf.Timestamp stamp = 19; google.protobuf.Duration span = 20; google.protobuf.Int64Value wrapped = 21; google.protobuf.DoubleValue wide = 22;
  google.protobuf.Struct doc = 23; google.protobuf.Value value = 24; google.protobuf.ListValue values = 25; google.protobuf.Any any = 26; optional string maybe = 27;
}
`

func TestDescribeSchemas(t *testing.T) {
	table, err := Bind(nil, compileAs(t, "every.proto", everyProto), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas         map[string]json.RawMessage
			SecuritySchemes map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(describeText(t, table), &doc); err != nil {
		t.Fatal(err)
	}
	var every struct {
		Properties map[string]json.RawMessage
		Not        json.RawMessage
	}
	if err := json.Unmarshal(doc.Components.Schemas["every.Everything"], &every); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"b": `{"type":"boolean"}`, "raw": `{"format":"byte","type":"string"}`, "i32": `{"format":"int32","type":"integer"}`,
		"u32": `{"format":"uint32","minimum":0,"type":"integer"}`, "i64": `{"format":"int64","type":"string"}`, "u64": `{"format":"uint64","type":"string"}`,
		"f": `{"anyOf":[{"format":"float","type":"number"},{"enum":["NaN","Infinity","-Infinity"],"type":"string"}]}`,
		"e": `{"$ref":"#/components/schemas/every.E"}`, "list": `{"items":{"format":"int32","type":"integer"},"type":"array"}`,
		"byName": `{"additionalProperties":{"$ref":"#/components/schemas/every.Inner"},"type":"object"}`,
		"inner":  `{"$ref":"#/components/schemas/every.Inner","description":"what is within"}`,
		"stamp":  `{"format":"date-time","type":"string"}`, "span": `{"pattern":"^-?[0-9]+(\\.[0-9]{1,9})?s$","type":"string"}`,
		"wrapped": `{"format":"int64","type":["string","null"]}`, "doc": `{"type":"object"}`, "value": `{}`, "values": `{"items":{},"type":"array"}`,
		"any": `{"properties":{"@type":{"type":"string"}},"required":["@type"],"type":"object"}`,
	} {
		var got bytes.Buffer
		if err := json.Compact(&got, every.Properties[name]); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", name, &got, err)
		}
	}
	for text, want := range map[string]string{
		string(every.Not): `"right"`, string(doc.Components.Schemas["every.E"]): "E_ONE",
		string(doc.Components.SecuritySchemes["jwt"]): "bearer", string(doc.Components.Schemas["every.Inner"]): "every.Everything",
		string(doc.Paths["/v1/watch/{id}"]["get"]):                      `"x-stream": "server"`,
		string(doc.Paths["/v1/shelves/{name_2}/books/{name_4}"]["get"]): "Get gets it.",
		string(doc.Paths["/v1/{id}:get"]["post"]):                       "application/problem+json",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}
