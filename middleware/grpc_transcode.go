package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/transcode"
)

// grpcTranscode is the running middleware. It never changes after newGRPCTranscode.
type grpcTranscode struct {
	tables  tables
	max     int
	subject string
	origins []string

	requestMetadata, responseMetadata map[string]bool
	requestHeaders, responseHeaders   map[string]bool
}

// carried are headers that a list of headers cannot take away: the proxy core
// decides about them.
var carried = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id", "Traceparent", "Tracestate"}

func newGRPCTranscode(c GRPCTranscodeConfig, env Env) (gateway.Step, error) {
	if err := speaksHTTP2(env.To); err != nil {
		return gateway.Step{}, err
	}
	m := &grpcTranscode{
		max: int(c.MaxMessage), subject: http.CanonicalHeaderKey(c.Subject), origins: c.Origins,
		requestMetadata:  headerSet(c.Metadata.Request),
		responseMetadata: headerSet(c.Metadata.Response),
		requestHeaders:   headerSet(c.Headers.Request, carried...),
		responseHeaders:  headerSet(c.Headers.Response),
	}
	m.tables.log = env.Log
	m.tables.opts = transcode.Options{
		BasePath: c.BasePath, MaxDepth: c.MaxDepth, DiscardUnknown: c.DiscardUnknown, EmitDefaults: c.EmitDefaults,
		ProtoNames: c.ProtoNames, EnumNumbers: c.EnumNumbers,
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, OpenAPI: func(auth []string) ([]byte, error) {
		table, err := m.tables.get()
		if err != nil {
			return nil, err
		}
		return table.Describe(env.Route, auth)
	}}
	if c.Subject != "" {
		step.Owns = []string{m.subject}
	}
	if c.OpenAPI != "" {
		doc, err := transcode.ReadDocument(string(c.OpenAPI))
		if err != nil {
			return gateway.Step{}, kind.At("openapi", "%w", err)
		}
		m.tables.doc = doc
		for _, op := range doc.Operations {
			if op.Secured && step.Needs == nil {
				step.Needs = []gateway.Identity{gateway.Subject}
			}
		}
	}
	if c.Descriptors.Reflection {
		reflected, err := keptReflection(env, c.Descriptors.Refresh)
		if err != nil {
			return gateway.Step{}, kind.At("descriptors", "%w", err)
		}
		m.tables.reflect = reflected
		to := env.To
		step.Start = func() []<-chan struct{} { return reflected.start(to) }
		return step, nil
	}
	if err := m.load(&c.Descriptors, c.OpenAPI != ""); err != nil {
		return gateway.Step{}, err
	}
	var err error
	step.Warnings, err = lintTable(m.tables.now.Load().table)
	return step, err
}

// lintTable tells errors, and returns warnings.
func lintTable(t *transcode.Table) (warnings []string, err error) {
	var errs []error
	for _, f := range transcode.Lint(t) {
		if f.Error {
			errs = append(errs, kind.At("openapi", "%s", f))
		} else {
			warnings = append(warnings, f.String())
		}
	}
	return warnings, errors.Join(errs...)
}

// load reads descriptors from files and binds them.
func (m *grpcTranscode) load(d *GRPCDescriptors, document bool) error {
	schema, at, err := d.read()
	if err != nil {
		return kind.At(at, "%w", err)
	}
	table, err := transcode.Bind(m.tables.doc, schema, m.tables.opts)
	if err != nil {
		if document {
			at = "openapi"
		}
		return kind.At(at, "%w", err)
	}
	m.tables.now.Store(&boundTable{schema, table})
	return nil
}

func speaksHTTP2(to gateway.Cluster) error {
	if to == nil {
		return kind.At("", "needs an upstream; name the gRPC service under the route's `to`")
	}
	if c, ok := to.(interface{ HTTP2() bool }); ok && !c.HTTP2() {
		return kind.At("", "upstream %q does not speak HTTP/2, which gRPC needs; write protocol: h2c, or https without proxy_protocol", to.Name())
	}
	return nil
}

func (m *grpcTranscode) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gateway.IsGRPC(r) {
			next.ServeHTTP(w, r)
			return
		}
		t, call, vars, err := m.match(r)
		if err == nil {
			err = m.serve(w, r, next, &grpcCall{m: m, x: gateway.ExchangeOf(r), in: r, client: w, table: t, call: call, vars: vars})
		}
		if err != nil {
			gateway.Fail(w, r, err)
		}
	})
}

// match finds the call of a request.
func (m *grpcTranscode) match(r *http.Request) (*transcode.Table, *transcode.Call, []string, error) {
	t, err := m.tables.get()
	if err != nil {
		return nil, nil, nil, &gateway.Error{
			Status: http.StatusServiceUnavailable, Reason: "grpc_descriptors", Msg: "the service has not described itself yet",
			Cause: gateway.CauseUpstream, Err: err, RetryAfter: time.Second,
		}
	}
	path := r.URL.EscapedPath()
	call, vars, allow := t.Match(r.Method, path)
	if call == nil && isWebSocket(r) {
		call, vars, _ = t.Match(http.MethodPost, path) // a handshake is a GET whatever the method is bound to
	}
	switch {
	case call != nil:
		return t, call, vars, nil
	case len(allow) > 0:
		return nil, nil, nil, &gateway.Error{
			Status: http.StatusMethodNotAllowed, Reason: "transcode_method", Msg: "this path does not take " + r.Method,
			Cause: gateway.CauseClient, Allow: strings.Join(allow, ", "),
		}
	}
	return nil, nil, nil, &gateway.Error{
		Status: http.StatusNotFound, Reason: "transcode_operation", Msg: "there is no such operation", Cause: gateway.CauseClient,
	}
}

// serve carries out one call. An error is for the client, which has got nothing yet.
func (m *grpcTranscode) serve(w http.ResponseWriter, r *http.Request, next http.Handler, c *grpcCall) error {
	if c.call.Secured() && c.x.Subject == "" {
		return &gateway.Error{
			Status: http.StatusUnauthorized, Reason: "transcode_identity", Msg: "this operation is for callers with an identity", Cause: gateway.CauseClient,
		}
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return &gateway.Error{
			Status: http.StatusUnsupportedMediaType, Reason: "transcode_encoding", Msg: "compressed bodies are not taken", Cause: gateway.CauseClient,
		}
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	c.cancel = cancel
	limit, err := clientTimeout(r)
	if err != nil {
		return err
	}
	if limit > 0 {
		timer := time.AfterFunc(limit, func() { cancel(errGRPCTimeout) })
		defer timer.Stop()
	}
	out := m.outbound(ctx, r, c, limit)
	switch {
	case isWebSocket(r):
		return c.serveSocket(out, next)
	case c.call.RPC.IsStreamingClient():
		return c.serveUpload(out, next)
	}
	return c.serveMessage(out, next)
}

var errGRPCTimeout = &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "grpc_timeout", Msg: "the call took longer than the client allows", Cause: gateway.CauseUpstream}

// clientTimeout is what the client's Grpc-Timeout says; 0 is nothing.
func clientTimeout(r *http.Request) (time.Duration, error) {
	text := r.Header.Get("Grpc-Timeout")
	if text == "" {
		return 0, nil
	}
	d, ok := transcode.ParseTimeout(text)
	if !ok {
		return 0, &gateway.Error{Status: http.StatusBadRequest, Reason: "transcode_timeout", Msg: "malformed Grpc-Timeout", Cause: gateway.CauseClient}
	}
	return max(d, 1), nil
}

// outbound is the call that goes upstream, without its body.
func (m *grpcTranscode) outbound(ctx context.Context, r *http.Request, c *grpcCall, limit time.Duration) *http.Request {
	out := r.WithContext(ctx)
	out.Method, out.Proto, out.ProtoMajor, out.ProtoMinor = http.MethodPost, "HTTP/2.0", 2, 0
	out.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}
	canon.SetPath(out.URL, c.call.Path())
	out.Header = transcode.CallHeader(r.Header, m.requestMetadata, m.requestHeaders)
	out.TransferEncoding, out.Trailer, out.Body, out.ContentLength = nil, nil, http.NoBody, 0
	if !c.call.RPC.IsStreamingServer() && !c.x.Deadline.IsZero() {
		// The route's time does not end a stream.
		if rest := max(time.Until(c.x.Deadline), 1); limit == 0 || rest < limit {
			limit = rest
		}
	}
	if limit > 0 {
		out.Header["Grpc-Timeout"] = []string{transcode.FormatTimeout(limit)}
	}
	if m.subject != "" {
		if c.x.Subject == "" {
			c.x.DropUpstreamHeader(m.subject)
		} else {
			c.x.SetUpstreamHeader(m.subject, c.x.Subject)
		}
	}
	return out
}

func isWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func (m *grpcTranscode) explain(r *http.Request, x *gateway.Exchange) string {
	if gateway.IsGRPC(r) {
		return "passes the gRPC call as it is"
	}
	_, call, _, err := m.match(r)
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		x.Status = e.Status
		return e.Msg
	}
	return fmt.Sprintf("%s %s calls %s", call.HTTPMethod, call.Template(), call.Path())
}
