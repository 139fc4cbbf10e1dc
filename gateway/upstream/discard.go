package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"
)

// The rest of an answer that nobody is to see is read, so that its connection
// can be used again, unless that costs more than a new connection would.
const (
	discardBytes = 64 << 10
	discardFor   = 25 * time.Millisecond
)

var errDiscarded = errors.New("the answer is not wanted")

// discard ends an attempt whose answer is not handed on.
func discard(resp *http.Response) {
	if b, ok := resp.Body.(*answerBody); ok && resp.ContentLength <= discardBytes {
		timer := time.AfterFunc(discardFor, func() { b.a.cancel(errDiscarded) })
		_, _ = io.CopyN(io.Discard, b.inner, discardBytes+1) // whatever breaks, the endpoint has answered
		timer.Stop()
	}
	_ = resp.Body.Close() // the same
}

// hints let the interim answers of one attempt pass, so that a client does not
// get Early Hints again from each further attempt.
type hints struct{ owner atomic.Pointer[hintsContext] }

// maxUnseenHints bounds the interim answers that are not passed on. Whoever
// gets the others has a bound of its own.
const maxUnseenHints = 5

var errHints = errors.New("too many interim answers")

// hintsContext is the context of one attempt, with a trace of its own in place of
// the one in the request's context.
type hintsContext struct {
	context.Context
	trace  httptrace.ClientTrace
	unseen int
}

// context makes the context of the next attempt.
func (h *hints) context(ctx context.Context) context.Context {
	outer := httptrace.ContextClientTrace(ctx)
	if outer == nil || outer.Got1xxResponse == nil {
		return ctx
	}
	c := &hintsContext{Context: ctx, trace: *outer}
	c.trace.Got1xxResponse = func(status int, header textproto.MIMEHeader) error {
		if status != http.StatusEarlyHints || h.owner.CompareAndSwap(nil, c) || h.owner.Load() == c {
			return outer.Got1xxResponse(status, header)
		}
		if c.unseen++; c.unseen > maxUnseenHints {
			return errHints
		}
		return nil
	}
	return c
}

// Value implements context.Context.
func (c *hintsContext) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok {
		return &c.trace
	}
	return v
}
