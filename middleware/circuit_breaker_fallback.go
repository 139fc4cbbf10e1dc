package middleware

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"net/http"
	"strconv"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// fallBack finds what carries out requests while a breaker is open.
func (m *circuitBreaker) fallBack(c *CircuitFallback, env Env) error {
	m.bridge = c.Cache != ""
	switch {
	case c.Respond != nil:
		m.fallback, m.notGRPC = newCircuitAnswer(c.Respond), true
		return nil
	case c.Upstream == "":
		return nil
	}
	to, ok := env.Upstream(c.Upstream)
	switch {
	case !ok:
		return kind.At("fallback.upstream", "unknown upstream %q", c.Upstream)
	case c.Upstream == env.To.Name():
		return kind.At("fallback.upstream", "is where the route goes already; name another upstream")
	}
	m.fallback = otherUpstream{to}
	return nil
}

// otherUpstream sends requests elsewhere.
type otherUpstream struct{ to gateway.Cluster }

// RoundTrip implements http.RoundTripper. No breaker is asked there: that one
// could have the same fallback.
func (o otherUpstream) RoundTrip(r *http.Request) (*http.Response, error) {
	x := gateway.ExchangeOf(r)
	x.Cluster, x.Upstream, x.Circuit, x.Session = o.to, o.to.Name(), nil, 0
	if !o.to.HasSubset(x.Subset) {
		x.Subset = ""
	}
	return o.to.RoundTrip(r)
}

// circuitAnswer gives the same answer to everybody.
type circuitAnswer struct {
	status int
	header http.Header
	body   []byte
}

func newCircuitAnswer(c *CircuitAnswer) *circuitAnswer {
	a := &circuitAnswer{status: c.Status, header: http.Header{}, body: []byte(c.Body)}
	for name, value := range c.Headers {
		a.header.Set(name, value)
	}
	if bodyAllowed(c.Status) {
		a.header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	if len(a.body) > 0 {
		a.header.Set("Content-Type", cmp.Or(c.ContentType, contentTypeOf("")))
		a.header.Set("X-Content-Type-Options", "nosniff")
	}
	return a
}

// RoundTrip implements http.RoundTripper.
func (a *circuitAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close() // nobody is to read it
	}
	gateway.ExchangeOf(r).StandIn = true
	res := &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: maps.Clone(a.header), ContentLength: int64(len(a.body)), Body: http.NoBody, Request: r,
	}
	if r.Method != http.MethodHead && len(a.body) > 0 {
		res.Body = io.NopCloser(bytes.NewReader(a.body))
	}
	return res, nil
}
