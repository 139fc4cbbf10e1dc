package middleware

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/openapi"
)

// request holds a request to its operation. It returns the request to hand on, whose
// body has been read and can be read again.
func (m *openapiValidate) request(r *http.Request, op *openapi.Operation, vars []string) (*http.Request, error) {
	violations := op.Parameters(r, vars)
	takes, needs := op.TakesBody()
	empty := r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0
	if !empty && r.ContentLength < 0 {
		// A body without a length may still be none.
		first, err := readUpTo(r, 1)
		if err != nil {
			return nil, err
		}
		if empty = len(first) == 0; !empty {
			r = withBody(r, io.MultiReader(bytes.NewReader(first), r.Body))
		}
	}
	switch {
	case empty && needs:
		violations = append(violations, openapi.MissingBody()...)
	case empty:
	case !takes:
		return nil, unsupported("openapi_body", "this operation takes no body")
	default:
		found, out, err := m.body(r, op)
		if err != nil {
			return nil, err
		}
		r, violations = out, append(violations, found...)
	}
	if len(violations) == 0 {
		return r, nil
	}
	return nil, &gateway.Error{
		Status: http.StatusBadRequest, Reason: "openapi_request", Msg: "the request does not fit the document of this API",
		Cause: gateway.CauseClient, Violations: violations,
	}
}

// body checks the body of a request that has one.
func (m *openapiValidate) body(r *http.Request, op *openapi.Operation) ([]gateway.Violation, *http.Request, error) {
	if len(r.Header["Content-Type"]) > 1 {
		return nil, nil, unsupported("openapi_media_type", "the content type is given twice")
	}
	how, err := op.BodyOf(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, nil, unsupported("openapi_media_type", err.Error())
	}
	if !how.Read {
		return nil, r, nil
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, nil, unsupported("openapi_encoding", "compressed bodies are not taken")
	}
	if r.ContentLength > int64(m.max) {
		return nil, nil, errOpenAPITooLarge
	}
	body, err := readUpTo(r, m.max+1)
	if err != nil {
		return nil, nil, err
	}
	if len(body) > m.max {
		return nil, nil, errOpenAPITooLarge
	}
	return how.Check(body), withBody(r, bytes.NewReader(body)), nil
}

var errOpenAPITooLarge = &gateway.Error{
	Status: http.StatusRequestEntityTooLarge, Reason: "openapi_too_large", Msg: "the body is larger than this route checks", Cause: gateway.CauseClient, Close: true,
}

func unsupported(reason, msg string) *gateway.Error {
	return &gateway.Error{Status: http.StatusUnsupportedMediaType, Reason: reason, Msg: msg, Cause: gateway.CauseClient}
}

// withBody is r with another reader of what it holds.
func withBody(r *http.Request, body io.Reader) *http.Request {
	out := r.WithContext(r.Context())
	out.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return out
}

// readUpTo reads at most n bytes of the body.
func readUpTo(r *http.Request, n int) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(n)))
	if err == nil {
		return body, nil
	}
	gateway.ExchangeOf(r).ClientFailed(err)
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return nil, e
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errOpenAPITooLarge
	}
	return nil, &gateway.Error{
		Status: http.StatusBadRequest, Reason: "openapi_body", Msg: "the body is incomplete", Cause: gateway.CauseClient, Err: err, Close: true,
	}
}

// checkedAnswer looks at an answer on its way: with enforce it holds back what must be
// checked, else it keeps a copy.
type checkedAnswer struct {
	http.ResponseWriter
	m  *openapiValidate
	op *openapi.Operation
	r  *http.Request

	status  int // 0 before the head
	how     openapi.Body
	buf     []byte
	held    bool // the head is still here
	large   bool // there is more than can be checked
	refused bool // the client has got an error, the rest of the answer goes nowhere
}

// Unwrap is for http.ResponseController.
func (a *checkedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *checkedAnswer) enforce() bool { return a.m.responses == responsesEnforce }

// WriteHeader implements http.ResponseWriter.
func (a *checkedAnswer) WriteHeader(status int) {
	if status < http.StatusOK && status != http.StatusSwitchingProtocols || a.status != 0 {
		if !a.held && !a.refused {
			a.ResponseWriter.WriteHeader(status)
		}
		return
	}
	a.status = status
	x := gateway.ExchangeOf(a.r)
	if x.Err != nil || !bodyAllowed(status) || status == http.StatusSwitchingProtocols {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	how, problem := a.op.Answer(status, a.Header().Get("Content-Type"))
	if coding := a.Header().Get("Content-Encoding"); problem == "" && how.Read && coding != "" && coding != "identity" {
		problem = "the answer is compressed although nobody has asked for that"
	}
	if problem != "" {
		a.unfit(problem)
	}
	a.how = how
	if a.how.Read = how.Read && problem == "" && a.r.Method != http.MethodHead; a.how.Read && a.enforce() {
		a.held = true
		return
	}
	if !a.refused {
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (a *checkedAnswer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.refused {
		return len(p), nil
	}
	if a.how.Read && !a.large {
		if a.large = len(a.buf)+len(p) > a.m.max; a.large {
			a.buf = nil
			a.unfit("the answer is larger than max_body")
		} else {
			a.buf = append(a.buf, p...)
		}
	}
	if a.held || a.refused {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController. What is held back stays here.
func (a *checkedAnswer) FlushError() error {
	if a.held || a.refused {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// unfit says that the answer does not fit, to the operator and, with enforce, to the client.
func (a *checkedAnswer) unfit(problem string) {
	a.m.unfit(a.r, a.op, a.status, problem)
	if !a.enforce() {
		return
	}
	a.held, a.refused = false, true
	gateway.Fail(a.ResponseWriter, a.r, &gateway.Error{
		Status: http.StatusBadGateway, Reason: "openapi_response", Msg: "the service gave an answer that does not fit the document of this API",
		Cause: gateway.CauseUpstream, Err: errors.New(problem),
	})
}

// end checks what has been gathered and lets go of what has been held back.
func (a *checkedAnswer) end() {
	if a.refused || !a.how.Read || a.large {
		return
	}
	if violations := a.how.Check(a.buf); len(violations) > 0 {
		a.unfit(fmt.Sprintf("%s %s", violations[0].Pointer, violations[0].Detail))
	}
	if a.held {
		a.ResponseWriter.WriteHeader(a.status)
		_, _ = a.ResponseWriter.Write(a.buf) // a client that left is noticed by the server
	}
}
