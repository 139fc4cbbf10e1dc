package upstream

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway"
)

// maxRetryAfter is the longest wait that an endpoint can ask for when the
// request has no end of its own.
const maxRetryAfter = 30 * time.Second

// rounds are the attempts of one request under a policy. A round is an attempt,
// with those that take its place because an endpoint cannot be reached.
type rounds struct {
	c      *Cluster
	x      *gateway.Exchange
	p      *gateway.Retry
	req    *http.Request
	body   *replay   // nil when there is none
	read   *replayed // the body for the next round
	safe   bool      // the request may reach the service twice
	hints  hints
	passed []*gateway.Endpoint // those that had the request before
	room   [4]*gateway.Endpoint
}

// retry carries out a request under the policy of its exchange, first at ep.
func (c *Cluster) retry(x *gateway.Exchange, ep *gateway.Endpoint, req *http.Request) (*http.Response, error) {
	r := &rounds{c: c, x: x, p: x.Retry, req: req}
	r.passed = r.room[:0]
	r.safe = r.p.Method(req.Method) && req.Header.Get("Upgrade") == ""
	if req.Body != nil && req.Body != http.NoBody {
		limit := int64(0) // enough to send a body that nobody has begun
		if r.p.Attempts > 0 && (r.safe || c.HTTP2()) {
			limit = r.p.Body
		}
		r.body = newReplay(req, limit)
		r.body.spare = x.Spare
		r.read, _ = r.body.begin() // the first time it cannot fail
	}
	c.opts.Stats.retries.request()
	for n := 0; ; n++ {
		var resp *http.Response
		var unsent bool
		var err error
		if r.hedges() {
			resp, unsent, err = r.hedged(ep, n > 0)
		} else {
			resp, unsent, r.passed, err = r.c.offer(x, ep, r.next(), r.passed, n > 0)
		}
		if resp, err, ok := r.c.instead(x, r.next(), err); ok {
			r.finish(false)
			return resp, err
		}
		if isRefusal(err) {
			r.finish(true)
			return nil, err
		}
		r.passed = append(r.passed, x.Endpoint)
		why := r.wants(resp, err, unsent)
		r.judge(n, why, err)
		wait, again := r.again(n, why, resp)
		if !again {
			r.finish(unsent)
			return resp, err
		}
		if resp != nil {
			discard(resp)
		}
		x.UpstreamHeaders = time.Time{} // of an answer that nobody is to see
		if err = r.pause(wait); err == nil {
			r.c = r.leave()
			ep, err = r.pick()
		}
		if err != nil {
			r.finish(true)
			return nil, err
		}
	}
}

// next is the request for the next round.
func (r *rounds) next() *http.Request {
	ctx := r.req.Context()
	if r.p.Attempts > 0 || r.p.Hedge != nil {
		ctx = r.hints.context(ctx)
	}
	if ctx == r.req.Context() && r.body == nil {
		return r.req
	}
	req := r.req.WithContext(ctx)
	if r.body != nil {
		req.Body = r.read
	}
	return req
}

// finish lets go of the client's body. orphan says that no transport has it.
func (r *rounds) finish(orphan bool) {
	if r.body != nil {
		r.body.finish(orphan)
	}
}

// pick chooses the endpoint of the next round: one that has not had the request
// yet, if there is one.
func (r *rounds) pick() (*gateway.Endpoint, error) {
	if ep := r.c.another(r.x, r.passed); ep != nil {
		return ep, nil
	}
	return r.c.acquire(r.req.Context(), r.x)
}

// wish says whether a request is to be sent again, and what that takes.
type wish uint8

const (
	wishNone   wish = iota // this is what the client gets
	wishUnsafe             // the service may have seen the request
	wishSafe               // it has not, or has said that it did nothing
)

// wants compares the end of a round with the policy.
func (r *rounds) wants(resp *http.Response, err error, unsent bool) wish {
	if err != nil {
		e := gateway.AsError(err)
		switch {
		case r.p.On&retryOn(e) == 0:
			return wishNone
		case unsent, e.Err != nil && hasPrefix(e.Err, unprocessedTexts):
			return wishSafe
		}
		return wishUnsafe
	}
	if status := resp.Header.Get("Grpc-Status"); status != "" && gateway.IsGRPC(r.req) {
		code, err := strconv.Atoi(status)
		for _, wanted := range r.p.GRPC {
			if err == nil && code == wanted {
				return wishSafe
			}
		}
		return wishNone
	}
	if r.p.Status(resp.StatusCode) {
		return wishUnsafe
	}
	return wishNone
}

// retryOn is the way in which an attempt with this error has ended. What the
// client or this process has caused is none of them.
func retryOn(e *gateway.Error) gateway.RetryOn {
	switch e.Reason {
	case "connect_failed", "connect_timeout", "upstream_tls":
		return gateway.RetryConnectFailure
	case "upstream_reset":
		return gateway.RetryReset
	case "upstream_timeout":
		return gateway.RetryTimeout
	}
	return 0
}

// judge counts what became of a retry, unless its client is to blame.
func (r *rounds) judge(n int, why wish, err error) {
	if n == 0 {
		return
	}
	switch {
	case err == nil && why == wishNone:
		r.count(retryOK)
	case err == nil || gateway.AsError(err).Cause != gateway.CauseClient:
		r.count(retryFailed)
	}
}

func (r *rounds) count(result retryResult) { r.c.opts.Stats.retries.count(result) }

// again decides whether there is to be another round, and how long it must wait.
func (r *rounds) again(n int, why wish, resp *http.Response) (wait time.Duration, ok bool) {
	if why == wishNone || n >= r.p.Attempts || r.req.Context().Err() != nil || r.x.ClientError() != nil {
		return 0, false
	}
	if !r.safe && why != wishSafe || r.body != nil && !r.body.ready() {
		r.count(retryNotReplayable)
		return 0, false
	}
	if wait, ok = r.wait(n, resp); !ok {
		r.count(retryNoTime)
		return 0, false
	}
	if !r.where().opts.Stats.retries.allow(r.p.Budget) {
		r.count(retryBudget)
		return 0, false
	}
	if r.body != nil {
		// A transport may still be sending to an endpoint that has answered early,
		// and have begun another read since.
		if r.read, ok = r.body.begin(); !ok {
			r.count(retryNotReplayable)
			return 0, false
		}
	}
	return wait, true
}

// wait is the time before the next round: a random part of a term that doubles
// each time, after the least wait of the policy or what the endpoint has asked for
// if that is more. It is not ok when the request has no time left by then.
func (r *rounds) wait(n int, resp *http.Response) (d time.Duration, ok bool) {
	term := r.p.BackoffMax
	if n < 16 && r.p.BackoffBase<<n < term {
		term = r.p.BackoffBase << n
	}
	if term > 0 {
		d = rand.N(term)
	}
	asked := time.Duration(0)
	if resp != nil {
		if asked = retryAfterOf(resp.Header); asked < 0 {
			return 0, false
		}
	}
	d += max(asked, r.p.BackoffMin)
	end := r.x.Deadline
	if own, ok := r.req.Context().Deadline(); ok && (end.IsZero() || own.Before(end)) {
		end = own
	}
	if end.IsZero() {
		return d, asked <= maxRetryAfter
	}
	return d, d < time.Until(end)
}

// retryAfterOf is what Retry-After asks for, RFC 9110 section 10.2.3; 0 when it
// asks for nothing.
//
// For gRPC it is grpc-retry-pushback-ms, which forbids a retry when it is
// negative or no number: then so is the result.
func retryAfterOf(h http.Header) time.Duration {
	if pushback := h["Grpc-Retry-Pushback-Ms"]; len(pushback) > 0 {
		ms, err := strconv.ParseInt(pushback[0], 10, 31)
		if err != nil {
			return -1
		}
		return time.Duration(ms) * time.Millisecond
	}
	text := h.Get("Retry-After")
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// pause waits for the next round, or for the end of the request.
func (r *rounds) pause(d time.Duration) error {
	ctx := r.req.Context()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
	}
	return ended(ctx)
}
