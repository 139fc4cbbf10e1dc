package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "forward_auth", ForwardAuthConfig{Path: "/", Method: http.MethodGet, Timeout: time.Second}, newForwardAuth)
}

// maxAuthAnswer bounds what is read of an answer (CVE-2026-26998).
const maxAuthAnswer = 64 << 10

// forwardAuth is the running middleware. It never changes after newForwardAuth.
type forwardAuth struct {
	ForwardAuthConfig
	to       gateway.Cluster
	upstream []string // canonical names, like all that follow
	replaced []string // those of them that clients may send elsewhere
	client   []string
	asked    []string
	refusal  []string
	service  *authService
	answers  *authAnswers // nil remembers none
}

func newForwardAuth(c ForwardAuthConfig, env Env) (gateway.Step, error) {
	to, ok := env.Upstream(c.To)
	if !ok {
		return gateway.Step{}, kind.At("to", "unknown upstream %q", c.To)
	}
	m := &forwardAuth{
		ForwardAuthConfig: c, to: to, upstream: canonicalNames(c.ResponseHeaders.ToUpstream),
		client: canonicalNames(c.ResponseHeaders.ToClient), asked: canonicalNames(c.RequestHeaders),
	}
	var err error
	m.service, err = keep.Get(env.Keep, keptUnder("forward_auth/", c.meaning()), func() (*authService, error) { return newAuthService(c, env), nil })
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	if c.Cache != nil {
		key := keptUnder("forward_auth answers/", env.Key+c.meaningOfAnswers())
		m.answers, err = keep.Get(env.Keep, key, func() (*authAnswers, error) { return newAuthAnswers(c.Cache.Size), nil })
		if err != nil {
			return gateway.Step{}, kind.At("", "%w", err)
		}
	}
	m.refusal = slices.Concat(m.client, []string{"Content-Type", "Location", "Retry-After", "Www-Authenticate"})
	slices.Sort(m.refusal)
	m.refusal = slices.Compact(m.refusal)
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Vouched: true, Start: func() []<-chan struct{} {
		m.service.start(env.Process, &m.ForwardAuthConfig)
		return nil
	}}
	for _, name := range m.upstream {
		if isCredential(name) {
			m.replaced = append(m.replaced, name) // other routes need what clients send
		} else {
			step.Owns = append(step.Owns, name)
		}
	}
	if c.SubjectHeader != "" {
		step.Proves = []gateway.Identity{gateway.Subject}
	}
	return step, nil
}

// canonicalNames are the names as they stand in an http.Header, each of them once.
func canonicalNames(names []string) (all []string) {
	for _, name := range names {
		all = append(all, http.CanonicalHeaderKey(name))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (m *forwardAuth) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		r, body, err := m.buffer(r, x)
		if err != nil {
			gateway.Fail(w, r, err)
			return
		}
		v, err := m.decide(r, x, body)
		switch {
		case err != nil:
			gateway.Fail(w, r, err)
		case !v.passes():
			m.refuse(w, r, x, v)
		default:
			m.pass(w, x, v)
			next.ServeHTTP(w, r)
		}
	})
}

// buffer reads the body that the service gets to see. The request that it returns
// has that body once more.
func (m *forwardAuth) buffer(r *http.Request, x *gateway.Exchange) (*http.Request, []byte, error) {
	if m.Body == 0 || r.Body == nil || r.Body == http.NoBody || gateway.IsStream(r) {
		return r, nil, nil
	}
	tooLarge := &gateway.Error{
		Status: http.StatusRequestEntityTooLarge, Reason: "forward_auth_body", Cause: gateway.CauseClient,
		Msg: "the body is too large", Close: true,
	}
	if r.ContentLength > int64(m.Body) {
		return r, nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(m.Body)+1))
	if err != nil {
		x.ClientFailed(err)
		if _, told := errors.AsType[*gateway.Error](err); !told {
			err = &gateway.Error{
				Status: http.StatusBadRequest, Reason: "forward_auth_body", Msg: "the body is incomplete", Cause: gateway.CauseClient,
				Err: err, Close: true,
			}
		}
		return r, nil, err
	}
	if len(body) > int(m.Body) {
		return r, nil, tooLarge
	}
	again := r.WithContext(r.Context())
	again.Body = &bufferedBody{Reader: bytes.NewReader(body), Closer: r.Body}
	return again, body, nil
}

// bufferedBody is a body that has been read. Its end is still that of the original,
// which knows the trailers.
type bufferedBody struct {
	*bytes.Reader
	io.Closer
}

// verdict of a service: an answer with its body, which is empty if it lets pass.
type authVerdict struct {
	status  int
	header  http.Header
	body    []byte
	subject string
}

func (v *authVerdict) passes() bool { return v.status < http.StatusMultipleChoices }

// question asks the service. An error is one that the client is told of.
func (m *forwardAuth) question(r *http.Request, x *gateway.Exchange, body []byte) (*authVerdict, error) {
	ctx, cancel := context.WithTimeout(r.Context(), m.Timeout)
	defer cancel()
	out := m.request(r, x, body)
	res, err := m.to.RoundTrip(gateway.WithExchange(out.WithContext(ctx), &gateway.Exchange{
		Request: out, ID: x.ID, Start: time.Now(), Listener: x.Listener, Client: x.Client, Scheme: x.Scheme, Route: x.Route,
		Upstream: m.to.Name(), Subject: x.Subject, Cluster: m.to,
	}))
	if err != nil {
		if r.Context().Err() != nil {
			return nil, &gateway.Error{Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: err}
		}
		return nil, m.unavailable("forward_auth_failed", err)
	}
	defer func() { _ = res.Body.Close() }() // what is left of it is not wanted
	return m.judge(res)
}

// judge reads the answer of the service.
func (m *forwardAuth) judge(res *http.Response) (*authVerdict, error) {
	switch {
	case res.StatusCode == http.StatusBadGateway, res.StatusCode == http.StatusServiceUnavailable, res.StatusCode == http.StatusGatewayTimeout:
		return nil, m.unavailable("forward_auth_failed", fmt.Errorf("%s answers %d", m.To, res.StatusCode))
	case res.StatusCode < http.StatusOK, res.StatusCode >= http.StatusInternalServerError:
		return nil, m.unavailable("forward_auth_failed", fmt.Errorf("%w: status %d of %s", errAuthNonsense, res.StatusCode, m.To))
	}
	v := &authVerdict{status: res.StatusCode, header: res.Header}
	if v.passes() {
		if res.ContentLength > 0 && res.ContentLength <= maxAuthAnswer {
			_, _ = io.CopyN(io.Discard, res.Body, res.ContentLength) // so that the connection can be used again
		}
	} else {
		body, err := io.ReadAll(io.LimitReader(res.Body, maxAuthAnswer+1))
		switch {
		case err != nil:
			return nil, m.unavailable("forward_auth_failed", err)
		case len(body) > maxAuthAnswer:
			return nil, m.unavailable("forward_auth_answer", fmt.Errorf("%w: that of %s is larger than 64KiB", errAuthNonsense, m.To))
		}
		v.body = body
	}
	if m.SubjectHeader != "" && v.passes() {
		values := res.Header.Values(m.SubjectHeader)
		if len(values) != 1 || values[0] == "" {
			return nil, m.unavailable("forward_auth_answer", fmt.Errorf("%w: %s lets pass without exactly one %s", errAuthNonsense, m.To, m.SubjectHeader))
		}
		v.subject = values[0]
	}
	return v, nil
}

func (m *forwardAuth) unavailable(reason string, err error) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusServiceUnavailable, Reason: reason, Cause: gateway.CauseUpstream, Err: err,
		Msg: "whether this request may pass cannot be found out at the moment",
	}
}

// request is the one to the service.
func (m *forwardAuth) request(r *http.Request, x *gateway.Exchange, body []byte) *http.Request {
	original := r
	if x.Request != nil {
		original = x.Request // as it was before any middleware
	}
	h := make(http.Header, len(m.asked)+8)
	copyHeaders(h, r.Header, m.asked)
	h["User-Agent"] = cmpValues(h["User-Agent"], "") // net/http would name itself
	h["X-Forwarded-Method"] = []string{original.Method}
	h["X-Forwarded-Proto"] = []string{x.Scheme}
	h["X-Forwarded-Host"] = []string{original.Host}
	h["X-Forwarded-Uri"] = []string{original.URL.RequestURI()}
	if x.Client.IsValid() {
		h["X-Forwarded-For"] = []string{x.Client.String()}
	}
	if x.ID != "" {
		h["X-Request-Id"] = []string{x.ID}
	}
	out := &http.Request{
		Method: m.Method, URL: &url.URL{Scheme: "http", Host: original.Host, Path: m.Path}, Host: original.Host, Header: h, Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if m.Host != "" {
		out.Host = m.Host
	}
	if len(body) > 0 {
		copyHeaders(h, r.Header, []string{"Content-Type", "Content-Encoding"})
		out.ContentLength, out.Body = int64(len(body)), io.NopCloser(bytes.NewReader(body))
	}
	return out
}

func cmpValues(values []string, otherwise string) []string {
	if len(values) > 0 {
		return values
	}
	return []string{otherwise}
}

// copyHeaders copies the headers of these canonical names.
func copyHeaders(to, from http.Header, names []string) {
	for _, name := range names {
		if values := from[name]; len(values) > 0 {
			to[name] = slices.Clone(values)
		}
	}
}

// pass has the answer's headers go up and down.
func (m *forwardAuth) pass(w http.ResponseWriter, x *gateway.Exchange, v *authVerdict) {
	for _, name := range m.client {
		for _, value := range v.header[name] {
			w.Header().Add(name, value)
		}
	}
	m.enter(x, v)
}

// enter says in the exchange what the service has said of the caller.
func (m *forwardAuth) enter(x *gateway.Exchange, v *authVerdict) {
	for _, name := range m.replaced {
		x.DropUpstreamHeader(name)
	}
	for _, name := range m.upstream {
		for i, value := range v.header[name] {
			if i == 0 {
				x.SetUpstreamHeader(name, value)
			} else {
				x.AddUpstreamHeader(name, value)
			}
		}
	}
	if m.SubjectHeader != "" {
		x.Subject, x.Claims = v.subject, nil
	}
}

// refuse gives the client the answer of the service.
func (m *forwardAuth) refuse(w http.ResponseWriter, r *http.Request, x *gateway.Exchange, v *authVerdict) {
	denied := &gateway.Error{Status: v.status, Reason: "forward_auth_denied", Msg: "the request may not pass", Cause: gateway.CauseClient}
	if gateway.IsGRPC(r) {
		if v.status < http.StatusBadRequest {
			denied.Status = http.StatusUnauthorized // a login page is of no use to it
		}
		gateway.Fail(w, r, denied)
		return
	}
	x.Err = denied
	h := w.Header()
	copyHeaders(h, v.header, m.refusal)
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // net/http would guess one
	}
	h["Cache-Control"] = cmpValues(h["Cache-Control"], "no-store")
	h["X-Content-Type-Options"] = []string{"nosniff"}
	w.WriteHeader(v.status)
	if r.Method != http.MethodHead && v.status != http.StatusNotModified {
		_, _ = w.Write(v.body) //nolint:gosec // the answer of the service that decides; a client that left is noticed by the server
	}
}

// explain asks nobody: a dry run sends no requests.
func (m *forwardAuth) explain(*http.Request, *gateway.Exchange) string {
	text := fmt.Sprintf("asks %s, %s %s, and passes if it answers 2xx; a dry run takes that for granted", m.To, m.Method, m.Path)
	if m.SubjectHeader != "" {
		text += "; the subject would come from " + http.CanonicalHeaderKey(m.SubjectHeader)
	}
	return text
}
