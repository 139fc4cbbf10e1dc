package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/openapi"
)

func init() {
	kind.Add(Kinds, "mock", MockConfig{}, newMock)
}

// MockConfig answers in place of a service that does not exist yet, out of its OpenAPI
// document: with the example of the answer, else with a value made from its schema,
// which is the same each time. A route with this block needs no `to`.
//
//	mock: {openapi: orders.openapi.yaml}
//
// Clients get the first success that the document has. `Prefer: code=404` asks for
// another answer, `Prefer: example=NAME` for an example by its name. Requests are not
// checked; put `openapi_validate` before this block for that. Streams are not
// imitated. `pithead check` warns of examples that do not fit their schema.
type MockConfig struct {
	// OpenAPI is the document, version 3.0 or 3.1, as YAML or JSON. A change of it, or
	// of what it refers to, is taken over. Required.
	OpenAPI kind.Path `yaml:"openapi"`
	// BasePath stands before the paths of the document. Default: the path of the
	// document's first server.
	BasePath *string `yaml:"base_path"`
}

// Validate checks what needs no file.
func (c MockConfig) Validate() error {
	return errors.Join(documentGiven(c.OpenAPI), checkBasePath(c.BasePath))
}

// Files implements kind.Filer.
func (c MockConfig) Files() []string { return documentFiles(c.OpenAPI) }

// mock is the running middleware.
type mock struct{ *openapi.Mock }

func newMock(c MockConfig, _ Env) (gateway.Step, error) {
	contract, err := readContract(c.OpenAPI, openapi.Options{BasePath: c.BasePath})
	if err != nil {
		return gateway.Step{}, err
	}
	m := mock{openapi.NewMock(contract)}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain, Answers: true, Warnings: m.Warnings, OpenAPI: contract.Publish}, nil
}

func (m mock) wrap(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		goesNowhere(gateway.ExchangeOf(r))
		answer, prefers, err := m.answer(r)
		if err != nil {
			gateway.Fail(w, r, err)
			return
		}
		h := w.Header()
		for name, values := range answer.Header {
			h[name] = slices.Clone(values) // steps before this one may edit them
		}
		if prefers {
			h.Set("Preference-Applied", "code="+strconv.Itoa(answer.Status))
		}
		body := bodyAllowed(answer.Status)
		if answer.Media != "" && body {
			h.Set("Content-Type", answer.Media)
			h.Set("X-Content-Type-Options", "nosniff")
		}
		if body {
			h.Set("Content-Length", strconv.Itoa(len(answer.Body)))
		}
		w.WriteHeader(answer.Status)
		if body && r.Method != http.MethodHead && len(answer.Body) > 0 {
			_, _ = w.Write(answer.Body) // a client that left is noticed by the server
		}
	})
}

// answer finds the answer to a request. prefers says that the client has asked for its
// status.
func (m mock) answer(r *http.Request) (answer openapi.Sampled, prefers bool, err error) {
	op, _, allow := m.Contract.Find(r.Method, r.URL.EscapedPath())
	if op == nil {
		return answer, false, noOperation(r, allow, "mock_operation", "mock_method")
	}
	p, err := openapi.ParsePreference(r.Header["Prefer"])
	if err != nil {
		return answer, false, &gateway.Error{Status: http.StatusBadRequest, Reason: "mock_prefer", Msg: "Prefer: " + err.Error(), Cause: gateway.CauseClient}
	}
	answer, err = m.Answer(op, p, r.Header.Get("Accept"))
	return answer, p.Code != 0, err
}

func (m mock) explain(r *http.Request, x *gateway.Exchange) string {
	goesNowhere(x)
	answer, _, err := m.answer(r)
	if err != nil {
		e := gateway.AsError(err)
		x.Status = e.Status
		return fmt.Sprintf("answers %d (%s): %s", e.Status, e.Reason, e.Msg)
	}
	x.Status = answer.Status
	return fmt.Sprintf("answers %d with %d bytes out of the document", answer.Status, len(answer.Body))
}
