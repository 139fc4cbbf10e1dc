package openapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/pithead/pithead/gateway/transcode"
)

// bodyOf compiles a schema as the body of an operation, and returns the schema of the
// library too.
func bodyOf(t testing.TB, schema, components string) (Body, *openapi3.Schema) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "api.json")
	text := `{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{"/a":{"post":{"requestBody":{"content":{"application/json":{"schema":` + schema +
		`}}},"responses":{"200":{"description":"x"}}}}},"components":{"schemas":{` + components + `}}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := transcode.ReadDocument(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compile(doc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	body, err := c.Operations[0].BodyOf("application/json")
	if err != nil {
		t.Fatal(err)
	}
	return body, doc.Operations[0].Op.RequestBody.Value.Content["application/json"].Schema.Value
}

var values = []string{
	`null`, `true`, `0`, `1`, `1.0`, `1.5`, `-3`, `10`, `1e3`, `""`, `"a"`, `"abc"`, `"äöü"`, `"2026-01-02"`, `[]`, `[1]`, `[1,1]`, `[1,"a",null]`, `[1,2,3]`,
	`{}`, `{"a":1}`, `{"a":"x"}`, `{"a":1,"b":2}`, `{"b":2}`, `{"x1":1}`, `{"a":{"a":{"a":1}}}`, `{"kind":"cat","lives":9}`, `{"kind":"dog","lives":9}`,
}

// The library's own validation is the oracle: whatever it takes fits, and nothing else.
func TestCheckLikeTheLibrary(t *testing.T) {
	for _, schema := range []string{
		`{}`, `{"type":"integer"}`, `{"type":"number","minimum":1,"maximum":10}`, `{"type":"number","exclusiveMinimum":1}`, `{"type":"integer","multipleOf":5}`,
		`{"type":["string","null"]}`, `{"type":"string","minLength":2,"maxLength":3}`, `{"type":"string","pattern":"^a+"}`, `{"enum":[1,"a",{"a":1}]}`, `{"const":"abc"}`,
		`{"type":"array","items":{"type":"integer"}}`, `{"type":"array","uniqueItems":true,"maxItems":2}`, `{"type":"array","minItems":1,"prefixItems":[{"type":"integer"},{"type":"string"}]}`,
		`{"type":"array","contains":{"type":"string"}}`, `{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}`,
		`{"type":"object","additionalProperties":false,"properties":{"a":{}}}`, `{"type":"object","additionalProperties":{"type":"integer"}}`,
		`{"type":"object","patternProperties":{"^x":{"type":"string"}}}`, `{"type":"object","minProperties":1,"maxProperties":1}`, `{"type":"object","propertyNames":{"maxLength":1}}`,
		`{"type":"object","dependentRequired":{"a":["b"]}}`, `{"allOf":[{"type":"object"},{"required":["a"]}]}`, `{"anyOf":[{"type":"string"},{"type":"integer"}]}`,
		`{"oneOf":[{"type":"number"},{"type":"integer"}]}`, `{"not":{"type":"object"}}`, `{"if":{"type":"integer"},"then":{"minimum":1},"else":{"type":"string"}}`,
		`{"type":"object","properties":{"a":{"$ref":"#/components/schemas/Tree"}}}`,
	} {
		body, oracle := bodyOf(t, schema, `"Tree":{"type":["object","integer"],"properties":{"a":{"$ref":"#/components/schemas/Tree"}}}`)
		for _, value := range values {
			var v any
			if err := json.Unmarshal([]byte(value), &v); err != nil {
				t.Fatal(err)
			}
			want := oracle.VisitJSON(v, openapi3.EnableJSONSchema2020())
			if got := body.Check([]byte(value)); (len(got) == 0) != (want == nil) {
				t.Errorf("%s with %s: %v, the library says %v", value, schema, got, want)
			}
		}
	}
}

func TestCheckPointers(t *testing.T) {
	const cat, dog = `"Cat":{"type":"object","required":["lives"],"properties":{"lives":{"type":"integer","maximum":9}}}`, `"Dog":{"type":"object"}`
	for _, tt := range []struct{ schema, value, pointer, detail string }{
		{`{"type":"array","items":{"type":"object","properties":{"a/b~c":{"type":"integer"}}}}`, `[{},{"a/b~c":"x"}]`, "#/1/a~1b~0c", "must be integer, not string"},
		{`{"type":"object","properties":{"ä b":{"type":"integer"}}}`, `{"ä b":""}`, "#/%C3%A4%20b", "must be integer, not string"},
		{`{"type":"integer"}`, `1.5`, "#", "must be integer, not number"},
		{`{"oneOf":[{"$ref":"#/components/schemas/Cat"},{"$ref":"#/components/schemas/Dog"}],"discriminator":{"propertyName":"kind","mapping":{"cat":"#/components/schemas/Cat"}}}`, `{"kind":"cat","lives":10}`, "#/lives", "must be at most 9"},
		{`{"oneOf":[{"$ref":"#/components/schemas/Cat"},{"$ref":"#/components/schemas/Dog"}],"discriminator":{"propertyName":"kind"}}`, `{"kind":"Bird"}`, "#", "the member kind names nothing that is known"},
		{`{"type":"string","format":"int64"}`, `"9223372036854775808"`, "#", "must be of the format int64"},
		{`{"type":"integer","format":"int64"}`, `9223372036854775808`, "#", "must be of the format int64"},
		{`{"type":"integer","format":"int32"}`, `2147483648`, "#", "must be of the format int32"},
		{`{"type":"string","format":"uuid"}`, `"x"`, "#", "must be of the format uuid"},
		{`{"type":"number"}`, `1e999`, "", ""},
		{`{"type":"number","minimum":1}`, `1e999`, "#", "is too large a number"},
	} {
		body, _ := bodyOf(t, tt.schema, cat+","+dog)
		got := body.Check([]byte(tt.value))
		switch {
		case tt.detail == "" && len(got) == 0:
		case len(got) != 1 || got[0].Pointer != tt.pointer || got[0].Detail != tt.detail:
			t.Errorf("%s with %s: %v", tt.value, tt.schema, got)
		}
	}
}

// What a client can send must not cost more than it is worth.
func TestCheckBounds(t *testing.T) {
	begin := time.Now()
	t.Run("alternatives that double with each level", func(t *testing.T) {
		const a = `"A":{"oneOf":[{"type":"object","properties":{"a":{"$ref":"#/components/schemas/A"}}},{"type":"object","properties":{"a":{"$ref":"#/components/schemas/A"},"b":{}}}]}`
		body, _ := bodyOf(t, `{"$ref":"#/components/schemas/A"}`, a)
		got := body.Check([]byte(strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60)))
		if !strings.Contains(fmt.Sprint(got), "takes too many steps to check") {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a schema that is itself", func(t *testing.T) {
		body, _ := bodyOf(t, `{"$ref":"#/components/schemas/A"}`, `"A":{"allOf":[{"$ref":"#/components/schemas/B"}]},"B":{"allOf":[{"$ref":"#/components/schemas/A"}]}`)
		if got := body.Check([]byte("{}")); !strings.Contains(fmt.Sprint(got), "takes too many steps to check") {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a pattern that backtracks elsewhere", func(t *testing.T) {
		body, _ := bodyOf(t, `{"type":"string","pattern":"^(a+)+$"}`, "")
		if got := body.Check([]byte(`"` + strings.Repeat("a", 100_000) + `!"`)); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("many items that must all differ", func(t *testing.T) {
		body, _ := bodyOf(t, `{"type":"array","uniqueItems":true}`, "")
		var b strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&b, "%d,", i)
		}
		if got := body.Check([]byte("[" + b.String() + "0]")); len(got) != 1 || got[0].Detail != "has the same item at 0 and 100000" {
			t.Errorf("got %v", got)
		}
	})
	t.Run("no more violations than anybody reads", func(t *testing.T) {
		body, _ := bodyOf(t, `{"type":"array","items":{"type":"string"}}`, "")
		if got := body.Check([]byte("[" + strings.Repeat("1,", 10_000) + "1]")); len(got) != maxViolations {
			t.Errorf("got %d", len(got))
		}
	})
	t.Run("depth", func(t *testing.T) {
		body, _ := bodyOf(t, `{}`, "")
		if got := body.Check([]byte(strings.Repeat("[", 1_000_000))); len(got) != 1 || got[0].Detail != "is nested too deeply" {
			t.Errorf("got %v", got)
		}
	})
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestCompileRefuses(t *testing.T) {
	for schema, want := range map[string]string{
		`{"unevaluatedProperties":false}`: "unevaluatedProperties cannot be checked", `{"pattern":"(?=a)b"}`: "look-around", `{"type":"text"}`: `type "text"`,
		`{"$ref":"http://127.0.0.1:1/x.json"}`: "not followed", `{"$ref":"../x.json"}`: "outside the folder",
	} {
		outer := t.TempDir()
		file := filepath.Join(outer, "in", "api.json")
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(filepath.Join(outer, "x.json"), []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
		text := `{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{"/a":{"post":{"requestBody":{"content":{"application/json":{"schema":` + schema + `}}},"responses":{}}}}}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		doc, err := transcode.ReadDocument(file)
		if err == nil {
			_, err = Compile(doc, Options{})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", schema, err)
		}
	}
}

// What a mock makes fits the schema that it is made from.
func TestSamplesFit(t *testing.T) {
	for _, schema := range []string{
		`{"type":"integer","minimum":7,"multipleOf":5}`, `{"type":"integer","exclusiveMaximum":-3}`, `{"type":"number","minimum":0.1,"maximum":0.2}`, `{"type":"string","minLength":20}`,
		`{"type":"string","maxLength":2}`, `{"type":"string","pattern":"^[A-Z]{3}-[0-9]{2,}$"}`, `{"type":"string","format":"date-time"}`, `{"type":"string","format":"uuid"}`,
		`{"type":"array","items":{"type":"string"},"minItems":3,"uniqueItems":true}`, `{"type":"array","items":{"enum":["a","b"]},"minItems":2,"uniqueItems":true}`,
		`{"allOf":[{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}},{"type":"object","required":["b"],"properties":{"b":{"type":"boolean"}}}]}`,
		`{"oneOf":[{"type":"integer"},{"type":"string"}]}`, `{"type":"object","additionalProperties":{"type":"integer"},"minProperties":3}`, `{"$ref":"#/components/schemas/Tree"}`,
	} {
		body, _ := bodyOf(t, schema, `"Tree":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"left":{"$ref":"#/components/schemas/Tree"},"all":{"type":"array","items":{"$ref":"#/components/schemas/Tree"}}}}`)
		first, fits := sample(body.content.schema)
		again, _ := sample(body.content.schema)
		if !fits || canonicalText(first) != canonicalText(again) {
			t.Errorf("%s: %v, %v", schema, first, again)
		}
	}
	body, _ := bodyOf(t, `{"$ref":"#/components/schemas/Endless"}`, `"Endless":{"type":"object","required":["more"],"properties":{"more":{"$ref":"#/components/schemas/Endless"}}}`)
	if _, fits := sample(body.content.schema); fits {
		t.Error("something without an end has one")
	}
}
