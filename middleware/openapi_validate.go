package middleware

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/openapi"
	"github.com/pithead/pithead/gateway/transcode"
)

func init() {
	kind.Add(Kinds, "openapi_validate", OpenAPIValidateConfig{
		Requests: true, Responses: responsesOff, Undocumented: undocumentedRefuse, MaxBody: kind.MiB, MaxDepth: 64,
	}, newOpenAPIValidate)
}

const (
	responsesOff     = "off"
	responsesLog     = "log"
	responsesEnforce = "enforce"

	undocumentedRefuse = "refuse"
	undocumentedPass   = "pass"
)

// OpenAPIValidateConfig holds requests and answers to an OpenAPI document. What does
// not fit is answered with a 400 and a list of what is wrong, each with a JSON
// pointer, and does not reach the upstream.
//
//	openapi_validate: {openapi: orders.openapi.yaml, responses: log}
//
// Checked are paths and methods, parameters in path, query, headers and cookies, the
// content type of bodies, and bodies of JSON and of forms against their schema. Other
// bodies pass as they come. JSON with a member twice, in another charset than UTF-8 or
// in a compressed body is refused, since the service might read something else than
// what was checked; put `decompress` before this block where clients compress.
//
// References lead to files in the folder of the document, never to the network.
// Patterns are those of RE2. The block works before `grpc_transcode` too, with the
// document of that block.
type OpenAPIValidateConfig struct {
	// OpenAPI is the document, version 3.0 or 3.1, as YAML or JSON. A change of it, or
	// of what it refers to, is taken over. Required.
	OpenAPI kind.Path `yaml:"openapi"`
	// BasePath stands before the paths of the document. Default: the path of the
	// document's first server.
	BasePath *string `yaml:"base_path"`
	// Requests says whether requests are held to the document. Default: true.
	Requests bool `yaml:"requests"`
	// Responses says what happens with answers: `off` lets them pass, `log` writes
	// a line about those that do not fit, at most one each second, `enforce` answers 502
	// in their place, for which they are held back until they are whole. Answers that
	// the gateway makes itself, and errors of 500 and above that the document does not
	// name, pass in any case. Default: off.
	Responses string `yaml:"responses"`
	// Undocumented says what happens with requests that the document has no operation
	// for: `refuse` answers 404 or 405, `pass` lets them through unchecked.
	// Default: refuse.
	Undocumented string `yaml:"undocumented"`
	// Strict refuses parameters of the query that the operation does not name.
	// Default: false.
	Strict bool `yaml:"strict"`
	// MaxBody is the largest body that is checked, of requests and of answers; larger
	// requests are a 413. At most 64MiB. Default: 1MiB.
	MaxBody kind.Size `yaml:"max_body"`
	// MaxDepth is how deep JSON may be nested, 1 to 500. Default: 64.
	MaxDepth int `yaml:"max_depth"`
}

// Validate checks what needs no file.
func (c OpenAPIValidateConfig) Validate() error {
	errs := []error{documentGiven(c.OpenAPI), checkBasePath(c.BasePath)}
	switch c.Responses {
	case responsesOff, responsesLog, responsesEnforce:
	default:
		errs = append(errs, kind.At("responses", "%q is not known; write off, log or enforce", c.Responses))
	}
	switch c.Undocumented {
	case undocumentedRefuse, undocumentedPass:
	default:
		errs = append(errs, kind.At("undocumented", "%q is not known; write refuse or pass", c.Undocumented))
	}
	if !c.Requests && c.Responses == responsesOff {
		errs = append(errs, kind.At("requests", "neither requests nor responses are checked; take the block out"))
	}
	if c.MaxBody < 1 || c.MaxBody > 64*kind.MiB {
		errs = append(errs, kind.At("max_body", "%s is not from 1B to 64MiB", c.MaxBody))
	}
	if c.MaxDepth < 1 || c.MaxDepth > 500 {
		errs = append(errs, kind.At("max_depth", "%d is not from 1 to 500", c.MaxDepth))
	}
	return errors.Join(errs...)
}

func documentGiven(path kind.Path) error {
	if path == "" {
		return kind.At("openapi", "is needed; name the OpenAPI document")
	}
	return nil
}

func checkBasePath(base *string) error {
	if base != nil && *base != "" && !strings.HasPrefix(*base, "/") {
		return kind.At("base_path", "%q does not begin with a slash", *base)
	}
	return nil
}

// Files implements kind.Filer.
func (c OpenAPIValidateConfig) Files() []string { return documentFiles(c.OpenAPI) }

// documentFiles are a document and what it refers to.
func documentFiles(path kind.Path) []string {
	if doc, err := transcode.ReadDocument(string(path)); err == nil {
		return doc.Files
	}
	return filesOf(path) // the mistake is told when the block is built
}

// readContract reads and compiles a document.
func readContract(path kind.Path, o openapi.Options) (*openapi.Contract, error) {
	doc, err := transcode.ReadDocument(string(path))
	if err != nil {
		return nil, kind.At("openapi", "%w", err)
	}
	contract, err := openapi.Compile(doc, o)
	if err != nil {
		return nil, kind.At("openapi", "%w", err)
	}
	return contract, nil
}

// openapiValidate is the running middleware.
type openapiValidate struct {
	contract  *openapi.Contract
	requests  bool
	responses string
	pass      bool
	max       int
	log       *slog.Logger

	lastLog atomic.Int64 // when the last line was written, in nanoseconds
	unsaid  atomic.Int64 // answers that did not fit since, without a line
}

func newOpenAPIValidate(c OpenAPIValidateConfig, env Env) (gateway.Step, error) {
	contract, err := readContract(c.OpenAPI, openapi.Options{BasePath: c.BasePath, Strict: c.Strict, MaxDepth: c.MaxDepth})
	if err != nil {
		return gateway.Step{}, err
	}
	m := &openapiValidate{
		contract: contract, requests: c.Requests, responses: c.Responses, pass: c.Undocumented == undocumentedPass,
		max: int(c.MaxBody), log: env.Log,
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain, OpenAPI: contract.Publish}, nil
}

func (m *openapiValidate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op, vars, refusal := m.find(r)
		if refusal != nil {
			gateway.Fail(w, r, refusal)
			return
		}
		if op == nil {
			next.ServeHTTP(w, r)
			return
		}
		if m.requests {
			checked, err := m.request(r, op, vars)
			if err != nil {
				gateway.Fail(w, r, err)
				return
			}
			r = checked
		}
		if m.responses == responsesOff || r.Header.Get("Upgrade") != "" {
			next.ServeHTTP(w, r)
			return
		}
		gateway.ExchangeOf(r).SetUpstreamHeader("Accept-Encoding", "identity") // what is compressed cannot be checked
		answer := &checkedAnswer{ResponseWriter: w, m: m, op: op, r: r}
		next.ServeHTTP(answer, r)
		answer.end()
	})
}

// find is the operation of a request; neither it nor a refusal for one that passes
// without.
func (m *openapiValidate) find(r *http.Request) (*openapi.Operation, []string, *gateway.Error) {
	op, vars, allow := m.contract.Find(r.Method, r.URL.EscapedPath())
	if op != nil || m.pass {
		return op, vars, nil
	}
	return nil, nil, noOperation(r, allow, "openapi_operation", "openapi_method")
}

// noOperation is the refusal of a request that a document has no operation for.
func noOperation(r *http.Request, allow []string, path, method string) *gateway.Error {
	if len(allow) > 0 {
		return &gateway.Error{
			Status: http.StatusMethodNotAllowed, Reason: method, Msg: "this path does not take " + r.Method,
			Cause: gateway.CauseClient, Allow: strings.Join(allow, ", "),
		}
	}
	return &gateway.Error{Status: http.StatusNotFound, Reason: path, Msg: "there is no such operation", Cause: gateway.CauseClient}
}

// unfit tells the operator of an answer that does not fit the document.
func (m *openapiValidate) unfit(r *http.Request, op *openapi.Operation, status int, problem string) {
	now := time.Now().UnixNano()
	last := m.lastLog.Load()
	if now-last < int64(time.Second) || !m.lastLog.CompareAndSwap(last, now) {
		m.unsaid.Add(1)
		return
	}
	m.log.WarnContext(r.Context(), "an answer does not fit the document", "operation", op.Method+" "+op.Path, "status", status,
		"problem", problem, "request_id", gateway.ExchangeOf(r).ID, "not_told", m.unsaid.Swap(0))
}

func (m *openapiValidate) explain(r *http.Request, x *gateway.Exchange) string {
	op, vars, refusal := m.find(r)
	switch {
	case refusal != nil:
		x.Status = refusal.Status
		return fmt.Sprintf("answers %d (%s): %s", refusal.Status, refusal.Reason, refusal.Msg)
	case op == nil:
		return "passes: the document has no such operation"
	case m.requests:
		if violations := op.Parameters(r, vars); len(violations) > 0 {
			x.Status = http.StatusBadRequest
			v := violations[0]
			return fmt.Sprintf("answers 400 (openapi_request): %s %s %s", v.In, v.Name, v.Detail)
		}
	}
	return fmt.Sprintf("is %s %s; the body is held to the document when it comes", op.Method, op.Path)
}
