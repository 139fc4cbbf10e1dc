package middleware_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestMock(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("library"))
	body := func(want string) func(testing.TB, middlewaretest.Answer) {
		return func(t testing.TB, a middlewaretest.Answer) {
			t.Helper()
			if strings.TrimSpace(a.Body) != want {
				t.Errorf("got %s, want %s", a.Body, want)
			}
		}
	}
	const novel, lent = `{"genre":"novel","id":7,"pages":474,"title":"Emma"}`, `{"due":"2026-03-01","genre":"novel","id":8,"pages":249,"title":"Persuasion"}`
	const made = `{"due":"2026-01-02","genre":"novel","id":1,"isbn":"978-0000000000","pages":1,"title":"text"}`
	const get = "GET /library/v1/books/7"
	middlewaretest.Run(t, env, "mock: {"+library+"}", []middlewaretest.Case{
		{Name: "the first example", Request: get, To: "-", Header: map[string]string{"Content-Type": "application/json", "Preference-Applied": ""}, Check: body(lent)},
		{Name: "an example by name", Request: get + "\nPrefer: example=novel", To: "-", Check: body(novel)},
		{Name: "a code", Request: get + "\nPrefer: code=404", Status: 404, To: "-", Header: map[string]string{"Content-Type": "application/problem+json", "Preference-Applied": "code=404"}, Check: body(`{"detail":"there is no book 9","status":404,"title":"Not Found"}`)},
		{Name: "a code and an example", Request: get + "\nPrefer: code=200, example=novel", To: "-", Check: body(novel)},
		{Name: "the default for a code", Request: get + "\nPrefer: code=500", Status: 500, To: "-", Check: body(`{"detail":"text","status":400,"title":"text"}`)},
		{Name: "other preferences do not matter", Request: get + "\nPrefer: respond-async", To: "-", Check: body(lent)},
		{Name: "made from the schema", Request: "GET /library/v1/books", To: "-", Check: body("[" + made + "]")},
		{Name: "the status of a success", Request: "POST /library/v1/books", Status: 201, To: "-", Header: map[string]string{"Location": "/library/v1/books/7"}, Check: body(made)},
		{Name: "without a body", Request: "DELETE /library/v1/books/7", Status: 204, To: "-", Header: map[string]string{"Content-Type": "", "Content-Length": ""}, Check: body("")},
		{Name: "HEAD", Request: "HEAD /library/v1/books/7", To: "-", Header: map[string]string{"Content-Length": "77"}, Check: body("")},
		{Name: "an example that is not there", Request: get + "\nPrefer: example=poem", Status: 400, Reason: "mock_prefer"},
		{Name: "a code that is not there", Request: "DELETE /library/v1/books/7\nPrefer: code=418", Status: 400, Reason: "mock_prefer"},
		{Name: "a code that is none", Request: get + "\nPrefer: code=1000", Status: 400, Reason: "mock_prefer"},
		{Name: "a type that is not there", Request: get + "\nAccept: text/html", Status: 406, Reason: "mock_accept"},
		{Name: "any type", Request: get + "\nAccept: text/html, */*;q=0.1", To: "-", Check: body(lent)},
		{Name: "no such path", Request: "GET /library/v1/shelves", Status: 404, Reason: "mock_operation"},
		{Name: "no such method", Request: "PATCH /library/v1/books/7", Status: 405, Reason: "mock_method"},
	})
}

func TestMockWarnings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "api.yaml")
	doc := `openapi: 3.0.3
info: {title: T, version: "1"}
paths:
  /a:
    get:
      responses:
        "200":
          description: a
          content:
            application/json:
              schema: {type: object, required: [n], properties: {n: {type: integer}}}
              example: {n: one}
`
	if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	step := middlewaretest.Build(t, middlewaretest.Env(t, nil), "mock: {openapi: "+file+"}")
	if len(step.Warnings) != 1 || !strings.HasPrefix(step.Warnings[0], file+":10:13: GET /a: ") || !strings.Contains(step.Warnings[0], "#/n must be integer, not string") {
		t.Errorf("warned %q", step.Warnings)
	}
}

func TestMockMistakes(t *testing.T) {
	env := middlewaretest.Env(t, nil)
	for block, want := range map[string]string{
		"mock: {}":                              "name the OpenAPI document",
		"mock: {openapi: nowhere.yaml}":         "no such file",
		"mock: {" + library + ", base_path: x}": "begin with a slash",
	} {
		if told := middlewaretest.Mistakes(t, env, block); !strings.Contains(strings.Join(told, "\n"), want) {
			t.Errorf("%s: told %q", block, told)
		}
	}
}
