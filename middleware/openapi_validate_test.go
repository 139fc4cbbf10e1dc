package middleware_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pithead/pithead/middleware/middlewaretest"
)

const library = "openapi: ../configs/openapi/library.openapi.yaml"

const badBook = `{"title":"","genre":"crime","pages":1.5,"isbn":"978-1","colour":"red"}`

func TestOpenAPIValidateRequests(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("library").Handle(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	has := func(parts ...string) func(testing.TB, middlewaretest.Answer) {
		return func(t testing.TB, a middlewaretest.Answer) {
			t.Helper()
			for _, part := range parts {
				if !strings.Contains(a.Body, part) {
					t.Errorf("no %s in %s", part, a.Body)
				}
			}
		}
	}
	const json = "\nContent-Type: application/json"
	middlewaretest.Run(t, env, "openapi_validate: {"+library+", strict: true, max_body: 1KiB, max_depth: 5}", []middlewaretest.Case{
		{Name: "fits", Request: "GET /library/v1/books?limit=5&genre=novel&genre=poetry"},
		{Name: "body fits and goes on", Request: "POST /library/v1/books" + json + "\n\n" + `{"title":"Emma"}`, Check: has(`{"title":"Emma"}`)},
		{
			Name: "every violation has its pointer", Request: "POST /library/v1/books" + json + "\n\n" + badBook, Status: 400, Reason: "openapi_request",
			Header: map[string]string{"Content-Type": "application/problem+json"},
			Check: has(`{"in":"body","pointer":"#/title","detail":"must have at least 1 characters, not 0"}`, `"pointer":"#/genre"`, `"pointer":"#/pages","detail":"must be integer, not number"`,
				`"pointer":"#/isbn"`, `{"in":"body","pointer":"#/colour","detail":"must not be there"}`),
		},
		{Name: "required", Request: "POST /library/v1/books" + json + "\n\n{}", Status: 400, Reason: "openapi_request", Check: has(`"pointer":"#/title","detail":"is missing"`)},
		{Name: "no body", Request: "POST /library/v1/books" + json, Status: 400, Reason: "openapi_request", Check: has(`"pointer":"#","detail":"is missing"`)},
		{Name: "parameters", Request: "GET /library/v1/books?limit=500&genre=crime", Status: 400, Reason: "openapi_request", Check: has(`{"in":"query","name":"limit","detail":"must be at most 100"}`, `{"in":"query","name":"genre","pointer":"#/0"`)},
		{Name: "a number that is none", Request: "GET /library/v1/books?limit=five", Status: 400, Reason: "openapi_request", Check: has("must be integer, not string")},
		{Name: "given twice", Request: "GET /library/v1/books?limit=5&limit=6", Status: 400, Reason: "openapi_request", Check: has("must be given once")},
		{Name: "unknown parameter", Request: "GET /library/v1/books?colour=red", Status: 400, Reason: "openapi_request", Check: has(`{"in":"query","name":"colour","detail":"is no parameter of this operation"}`)},
		{Name: "path parameter", Request: "GET /library/v1/books/zero", Status: 400, Reason: "openapi_request", Check: has(`{"in":"path","name":"id"`)},
		{Name: "media type", Request: "POST /library/v1/books\nContent-Type: text/xml\n\n<a/>", Status: 415, Reason: "openapi_media_type"},
		{Name: "no media type", Request: "POST /library/v1/books\n\n{}", Status: 415, Reason: "openapi_media_type"},
		{Name: "charset", Request: "POST /library/v1/books\nContent-Type: application/json; charset=utf-16\n\n{}", Status: 415, Reason: "openapi_media_type"},
		{Name: "compressed", Request: "POST /library/v1/books" + json + "\nContent-Encoding: gzip\n\n{}", Status: 415, Reason: "openapi_encoding"},
		{Name: "a body where none is", Request: "DELETE /library/v1/books/7" + json + "\n\n{}", Status: 415, Reason: "openapi_body"},
		{Name: "too large", Request: "POST /library/v1/books" + json + "\n\n" + `{"title":"` + strings.Repeat("a", 1024) + `"}`, Status: 413, Reason: "openapi_too_large"},
		{
			Name: "too large, without a length", Request: "POST /library/v1/books" + json + "\n\n" + `{"title":"` + strings.Repeat("a", 1024) + `"}`, Status: 413, Reason: "openapi_too_large",
			Prepare: func(r *http.Request, _ *exchange) { r.ContentLength = -1 },
		},
		{Name: "without a length", Request: "POST /library/v1/books" + json + "\n\n" + `{"title":"Emma"}`, Prepare: func(r *http.Request, _ *exchange) { r.ContentLength = -1 }, Check: has(`{"title":"Emma"}`)},
		{Name: "a body without a length that is none", Request: "DELETE /library/v1/books/7", Prepare: func(r *http.Request, _ *exchange) { r.ContentLength = -1 }},
		{Name: "too deep", Request: "POST /library/v1/books" + json + "\n\n" + strings.Repeat("[", 6) + strings.Repeat("]", 6), Status: 400, Reason: "openapi_request", Check: has("is nested too deeply")},
		{Name: "a member twice", Request: "POST /library/v1/books" + json + "\n\n" + `{"title":"a","title":"b"}`, Status: 400, Reason: "openapi_request", Check: has("twice")},
		{Name: "broken off", Request: "POST /library/v1/books" + json + "\n\n" + `{"title":`, Status: 400, Reason: "openapi_request", Check: has("breaks off")},
		{Name: "no such path", Request: "GET /library/v1/shelves", Status: 404, Reason: "openapi_operation"},
		{Name: "no such method", Request: "PATCH /library/v1/books/7", Status: 405, Reason: "openapi_method", Header: map[string]string{"Allow": "DELETE, GET"}},
	})
	middlewaretest.Run(t, env, "openapi_validate: {"+library+", undocumented: pass}", []middlewaretest.Case{
		{Name: "undocumented passes", Request: "GET /library/v1/shelves?colour=red"},
		{Name: "unknown parameters pass", Request: "GET /library/v1/books?colour=red"},
	})
	middlewaretest.Run(t, env, "openapi_validate: {"+library+`, base_path: /v9}`, []middlewaretest.Case{
		{Name: "another base path", Request: "GET /v9/books"},
		{Name: "and not the document's", Request: "GET /library/v1/books", Status: 404, Reason: "openapi_operation"},
	})
}

func TestOpenAPIValidateResponses(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		if media := r.Header.Get("X-Media"); media != "-" {
			w.Header().Set("Content-Type", "application/json")
			if media != "" {
				w.Header().Set("Content-Type", media)
			}
		}
		w.Header().Set("Etag", `"1"`)
		switch r.Header.Get("X-Status") {
		case "404":
			w.WriteHeader(404)
		case "418":
			w.WriteHeader(418)
		case "503":
			w.WriteHeader(503)
		}
		body := r.Header.Get("X-Body")
		_, _ = io.WriteString(w, body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, body[len(body)/2:])
	}
	env := middlewaretest.Env(t, middlewaretest.NewCluster("library").Handle(answer))
	const good = `{"id":1,"title":"Emma"}`
	is := func(want string) func(testing.TB, middlewaretest.Answer) {
		return func(t testing.TB, a middlewaretest.Answer) {
			t.Helper()
			if a.Body != want {
				t.Errorf("got %s, want %s", a.Body, want)
			}
		}
	}
	const get = "GET /library/v1/books/1\nX-Body: "
	const reason = "openapi_response"
	middlewaretest.Run(t, env, "openapi_validate: {"+library+", responses: enforce, max_body: 100B}", []middlewaretest.Case{
		{Name: "fits", Request: get + good, Header: map[string]string{"Etag": `"1"`}, Sent: map[string]string{"Accept-Encoding": "identity"}, Check: is(good)},
		{Name: "required of answers", Request: get + `{"title":"Emma"}`, Status: 502, Reason: reason, To: "library", Header: map[string]string{"Etag": ""}},
		{Name: "wrong type", Request: get + `{"id":"1","title":"Emma"}`, Status: 502, Reason: reason, To: "library"},
		{Name: "no JSON", Request: get + `{"id":`, Status: 502, Reason: reason, To: "library"},
		{Name: "media type", Request: get + good + "\nX-Media: text/html", Status: 502, Reason: reason, To: "library"},
		{Name: "too large", Request: get + `{"id":1,"title":"` + strings.Repeat("a", 100) + `"}`, Status: 502, Reason: reason, To: "library"},
		{Name: "another status by its schema", Request: get + `{"title":"no","status":404}` + "\nX-Status: 404\nX-Media: application/problem+json", Status: 404, Check: is(`{"title":"no","status":404}`)},
		{Name: "another status that does not fit", Request: get + `{"status":"no"}` + "\nX-Status: 404\nX-Media: application/problem+json", Status: 502, Reason: reason, To: "library"},
		{Name: "HEAD has no body", Request: "HEAD /library/v1/books/1\nX-Body: ", Check: is("")},
		{Name: "status that the document has not", Request: "DELETE /library/v1/books/1\nX-Body: {}\nX-Status: 418", Status: 502, Reason: reason, To: "library"},
		{Name: "what goes wrong inside passes", Request: "DELETE /library/v1/books/1\nX-Body: {}\nX-Status: 503", Status: 503, Check: is("{}")},
	})
	var log logLines
	env.Log = log.logger()
	middlewaretest.Run(t, env, "openapi_validate: {"+library+", responses: log, requests: false}", []middlewaretest.Case{
		{Name: "log: fits", Request: get + good, Check: is(good)},
		{Name: "log: passes what does not fit", Request: get + `{"id":0}`, Check: is(`{"id":0}`)},
		{Name: "log: and tells of the second one later", Request: get + `{"id":0}`, Check: is(`{"id":0}`)},
		{Name: "log: requests are not checked", Request: "GET /library/v1/books?limit=500\nX-Body: []", Check: is("[]")},
	})
	if lines := log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "GET /books/{id}") || !strings.Contains(lines[0], "#/title is missing") {
		t.Errorf("logged %q", lines)
	}
}

func TestOpenAPIValidateMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("library"))
	for block, want := range map[string]string{
		"openapi_validate: {}":                                  "name the OpenAPI document",
		"openapi_validate: {openapi: nowhere.yaml}":             "no such file",
		"openapi_validate: {" + library + ", responses: on}":    "write off, log or enforce",
		"openapi_validate: {" + library + ", undocumented: no}": "write refuse or pass",
		"openapi_validate: {" + library + ", requests: false}":  "take the block out",
		"openapi_validate: {" + library + ", max_body: 1GiB}":   "64MiB",
		"openapi_validate: {" + library + ", max_depth: 0}":     "1 to 500",
		"openapi_validate: {" + library + ", base_path: v1}":    "begin with a slash",
	} {
		if told := middlewaretest.Mistakes(t, env, block); !strings.Contains(strings.Join(told, "\n"), want) {
			t.Errorf("%s: told %q, want %q", block, told, want)
		}
	}
}
