package upstream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// retryAfter is what a client is told when no endpoint is well: about as long
// as health checks need to notice a recovery.
const retryAfter = 5 * time.Second

// maxFailovers bounds the further endpoints that a request is offered to after
// one that cannot be reached. Nothing has been sent by then, so that is safe for
// every method, and no load on anybody.
const maxFailovers = 2

// attempt is one request on its way to one endpoint, until the last byte of the
// answer. It holds by value what the attempt needs, to be one allocation.
type attempt struct {
	c      *Cluster
	x      *gateway.Exchange
	ep     *gateway.Endpoint
	in     context.Context // of the request as it came; ends when the client leaves
	ctx    context.Context // of the attempt
	cancel context.CancelCauseFunc

	url    url.URL
	send   requestBody
	answer answerBody
	watch  watchdog
	tunnel io.ReadWriteCloser // the connection after an upgrade, which no context ends
	retry  *retries           // counts the attempt as a retry; nil if it is none
	judged judged

	socket    *trackedConn // of the attempt; nil while there is none, and for one that is not followed
	shared    bool         // the connection carries several requests at a time
	transport *transport
	resp      *http.Response // the head of the answer; nil while there is none
	grpc      bool           // it answers a gRPC call
}

// RoundTrip sends the request to an endpoint of the exchange's subset, and to
// another one if that cannot be reached. Errors are a *gateway.Error, those of
// reading the answer's body too.
func (c *Cluster) RoundTrip(req *http.Request) (*http.Response, error) {
	x := gateway.ExchangeOf(req)
	var ep *gateway.Endpoint
	var err error
	if c.opts.Protocol == "h2c" && req.Header.Get("Upgrade") != "" {
		// RFC 9113 §8.2.2: HTTP/2 has no Upgrade.
		err = &gateway.Error{Status: http.StatusNotImplemented, Reason: "upgrade_unsupported", Msg: "this service cannot switch protocols", Cause: gateway.CauseClient}
	} else if err = c.barred(x); err == nil {
		ep, err = c.acquire(req.Context(), x)
	}
	if err != nil {
		if resp, err, ok := c.instead(x, req, err); ok {
			return resp, err
		}
		closeBody(req)
		return nil, err
	}
	if x.Retry != nil {
		return c.retry(x, ep, req)
	}
	var passed [maxFailovers]*gateway.Endpoint
	resp, unsent, _, err := c.offer(x, ep, req, passed[:0], false)
	if resp, err, ok := c.instead(x, req, err); ok {
		return resp, err
	}
	return resp, settle(req, unsent, err)
}

// offer makes an attempt at ep and, while it fails before there is a connection,
// at others. passed are the endpoints that had the request before, and in the
// result those that could not be reached too.
func (c *Cluster) offer(x *gateway.Exchange, ep *gateway.Endpoint, req *http.Request, passed []*gateway.Endpoint, again bool) (
	resp *http.Response, unsent bool, _ []*gateway.Endpoint, err error,
) {
	for n := 0; ; n++ {
		resp, unsent, err = c.try(x, ep, req, again)
		if err == nil || !unsent || n == maxFailovers || isRefusal(err) && !x.Circuit.PerEndpoint() {
			return resp, unsent, passed, err
		}
		passed = append(passed, ep)
		if ep = c.another(x, passed); ep == nil {
			return nil, unsent, passed, err
		}
	}
}

// try makes one attempt. unsent says that it failed before there was a
// connection: nothing of the request has left, and its body is as it was.
func (c *Cluster) try(x *gateway.Exchange, ep *gateway.Endpoint, req *http.Request, again bool) (resp *http.Response, unsent bool, _ error) {
	admission, err := c.admit(x, ep)
	if err != nil {
		return nil, true, err
	}
	a, out := c.begin(x, ep, req)
	a.judged.by(admission, x.Circuit)
	if again {
		a.retry = c.opts.Stats.retries
		a.retry.active.Add(1)
	}
	watching := a.follow(req)
	resp, err = a.transport.RoundTrip(out)
	watching.end()
	unsent = err != nil && a.unsent(err)
	a.send.release(unsent)
	if err == nil {
		if err = a.take(req, resp); err == nil {
			return resp, false, nil
		}
		_ = resp.Body.Close() // nobody is to read it
	}
	e := a.blame(err, phaseHead)
	a.end(e)
	return nil, unsent && e.Cause == gateway.CauseNetwork, e
}

// unsent says that an attempt failed before there was a connection, or within the
// handshake of TLS. What an endpoint says after that may be its answer to the
// request, an alert too.
func (a *attempt) unsent(err error) bool {
	_, dial := errors.AsType[*dialError](err)
	return (dial || a.handshaking()) && !a.send.begun.Load()
}

// handshaking says that the transport has not told of a connection yet, and makes
// secure ones.
func (a *attempt) handshaking() bool { return a.x.Anatomy.Opening && a.url.Scheme == "https" }

// settle closes the body that the last attempt has left open for another one.
func settle(req *http.Request, unsent bool, err error) error {
	if unsent {
		closeBody(req)
	}
	return err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // it is the client's; the server notices what is wrong with it
	}
}

// Pick chooses the endpoint of an attempt for x, as RoundTrip does.
func (c *Cluster) Pick(x *gateway.Exchange) (*gateway.Endpoint, error) {
	g, ok := c.set.Load().group(x.Subset)
	if !ok {
		return nil, &gateway.Error{
			Status: http.StatusInternalServerError, Reason: "unknown_subset", Msg: "internal error",
			Err: errors.New("upstream " + c.opts.Name + " has no subset " + x.Subset),
		}
	}
	if x.Session != 0 {
		if ep := g.ofSession(x.Session); ep != nil && c.passes(x, ep) {
			return ep, nil
		}
	}
	if ep := g.picker.Pick(x); ep != nil {
		if !c.passes(x, ep) {
			return c.aside(x, &g, ep)
		}
		return ep, nil
	}
	return nil, &gateway.Error{
		Status: http.StatusServiceUnavailable, Reason: "no_healthy_endpoint", Msg: "no endpoint of this service is available",
		Cause: gateway.CauseGateway, RetryAfter: retryAfter,
	}
}

// another chooses an endpoint beside those that were passed over and takes a
// place there; nil when there is none. The policy has the first word.
func (c *Cluster) another(x *gateway.Exchange, passed []*gateway.Endpoint) *gateway.Endpoint {
	g, _ := c.set.Load().group(x.Subset)
	for range len(passed) + 1 {
		if ep := g.picker.Pick(x); ep != nil && !contains(passed, ep) && c.passes(x, ep) && c.reserve(ep) {
			return ep
		}
	}
	for i, from := 0, rand.IntN(len(g.healthy)+1); i < len(g.healthy); i++ {
		if ep := g.healthy[(from+i)%len(g.healthy)]; !contains(passed, ep) && c.passes(x, ep) && c.reserve(ep) {
			return ep
		}
	}
	// Whoever was ejected may be back already, and the others cannot be reached.
	for _, ep := range g.spare {
		if !contains(passed, ep) && c.passes(x, ep) && c.reserve(ep) {
			return ep
		}
	}
	return nil
}

// contains compares addresses: a change of the set may have made new endpoints.
func contains(passed []*gateway.Endpoint, ep *gateway.Endpoint) bool {
	return slices.ContainsFunc(passed, func(p *gateway.Endpoint) bool { return p.Addr == ep.Addr })
}

// begin books the attempt, for which a place is taken, and makes the request that goes out: a copy, since a
// RoundTripper must leave the one it is given alone.
func (c *Cluster) begin(x *gateway.Exchange, ep *gateway.Endpoint, req *http.Request) (*attempt, *http.Request) {
	now := time.Now()
	x.Endpoint = ep
	x.Attempts++
	x.UpstreamWaited = 0
	if x.UpstreamStart.IsZero() {
		x.UpstreamStart = now
	}
	x.Anatomy.Begin(now)
	ep.Stats.Requests.Add(1)

	ctx, cancel := context.WithCancelCause(req.Context())
	a := &attempt{c: c, x: x, ep: ep, in: req.Context(), ctx: ctx, cancel: cancel, url: *req.URL, transport: c.pool.take()}
	a.watch.owner = a
	out := req.WithContext(ctx)
	out.URL = &a.url
	a.url.Host = ep.Addr
	a.url.Scheme = "http"
	if c.opts.Protocol == "https" {
		a.url.Scheme = "https"
	}
	if c.opts.Host != "" {
		out.Host = c.opts.Host
	}
	if req.Body != nil && req.Body != http.NoBody {
		a.send = requestBody{a: a, inner: req.Body}
		out.Body = &a.send
	}
	limit, stream := c.opts.Timeouts.Response, gateway.IsStream(req)
	if stream {
		limit = c.opts.Timeouts.StreamIdle
	}
	if p := x.Retry; p != nil && p.PerTry > 0 {
		if a.send.perTry = p.PerTry; !stream || a.send.inner == nil {
			limit = min(limit, p.PerTry)
		}
	}
	a.watch.arm(now, limit, stream)
	return a, out
}

// take judges and books the head of the answer, and wraps its body if there is one.
func (a *attempt) take(req *http.Request, resp *http.Response) error {
	if err := refuse(req, resp); err != nil {
		return err
	}
	limit, stream := a.c.opts.Timeouts.BodyIdle, isStream(req, resp)
	if stream {
		limit = a.c.opts.Timeouts.StreamIdle
	}
	inner := resp.Body
	if resp.StatusCode == http.StatusSwitchingProtocols {
		a.tunnel, _ = inner.(io.ReadWriteCloser)
	}
	now := time.Now()
	a.resp, a.grpc = resp, gateway.IsGRPC(req)
	a.observeHead(now, resp.StatusCode, stream)
	a.observeCircuit(req, resp, stream)
	a.askKernel(now)
	if !a.watch.head(limit, stream) {
		return context.Cause(a.ctx)
	}
	a.x.UpstreamHeaders = now
	switch {
	case a.tunnel != nil:
		// The head was the last of HTTP. What closes the tunnel may do so after the
		// exchange has ended, and must not write to it.
		a.x.UpstreamEnd = a.x.UpstreamHeaders
		a.judged.whole = true
		a.answer = answerBody{a: a, inner: inner}
		resp.Body = &tunnelBody{answerBody: &a.answer, conn: a.tunnel}
	case inner == http.NoBody:
		a.judged.whole = true
		a.end(nil)
	default:
		a.answer = answerBody{a: a, inner: inner}
		resp.Body = &a.answer
	}
	return nil
}

func isStream(req *http.Request, resp *http.Response) bool {
	return resp.StatusCode == http.StatusSwitchingProtocols || gateway.IsGRPC(req) ||
		strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
}

// end books the end of the attempt, once. The watch's lock makes what it writes
// visible to whoever closes the body later, as the goroutine that serves the
// request always does.
func (a *attempt) end(e *gateway.Error) {
	first := false
	a.watch.stop(func() {
		first = true
		if a.tunnel == nil {
			a.x.UpstreamEnd = time.Now()
		}
		a.c.free(a.ep)
		if e != nil && (e.Cause == gateway.CauseUpstream || e.Cause == gateway.CauseNetwork) {
			a.ep.Stats.Failures.Add(1)
			a.ep.Stats.Latency.Fail(time.Now())
		}
		if a.retry != nil {
			a.retry.active.Add(-1)
		}
	})
	if first {
		a.verdict(e)
		a.report(e)
	}
	a.cancel(nil)
	a.c.letGo(a.transport)
}

// expired is the watchdog's verdict.
func (a *attempt) expired(p phase, stream bool) {
	a.cancel(timeoutError(p, stream))
	if p == phaseBody && a.tunnel != nil {
		_ = a.tunnel.Close() // the reader sees it
	}
}
