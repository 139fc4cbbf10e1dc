package middleware

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/httpcache"
)

// cacheAsk is a request whose answer has to be fetched.
type cacheAsk struct {
	key     []byte
	context httpcache.Context
	name    []byte // of the flight
	asks    httpcache.Directives
	found   httpcache.Found
	arm     [3]string // upstream, arm and subset when it was looked for
	subject string
	field   func(name string) []string
}

// ask is what is known of a request that is not answered from memory. What it holds is
// its own: it lives longer than the look-up, whose memory is the stack's.
func (m *cache) ask(key []byte, c *httpcache.Context, x *gateway.Exchange, r *http.Request, asks httpcache.Directives, found httpcache.Found) *cacheAsk {
	a := &cacheAsk{
		key: bytes.Clone(key), context: httpcache.Context{Whole: bytes.Clone(c.Whole), Common: c.Common, Identified: c.Identified, Cookie: c.Cookie}, asks: asks, found: found,
		arm: [3]string{x.Upstream, x.Arm, x.Subset}, subject: x.Subject,
	}
	header, sent := r.Header, x.Again() // x changes while the answer is fetched
	a.field = func(name string) []string { return sent.UpstreamHeader(header, name) }
	m.rename(a)
	return a
}

// rename makes the name of the flight: what an answer is known to depend on.
func (m *cache) rename(a *cacheAsk) {
	a.name = slices.Concat(a.key, []byte{0}, a.context.Whole, []byte{0})
	if a.context.Identified {
		a.name = append(a.name, "identified\x00"...)
	}
	a.name = m.store.Varies(a.name, a.key, a.field)
}

// waits says whether another request's answer is likely to do. One who says who it
// is gets its own, unless the service has said before that everybody gets the same.
func (a *cacheAsk) waits() bool {
	return !a.found.Alone && (!a.context.Identified || a.found.Answer != nil)
}

// errNoWait ends the wait for another request's answer.
var errNoWait = errors.New("the wait is over")

// miss fetches the answer, or waits for somebody who does.
func (m *cache) miss(w http.ResponseWriter, r *http.Request, next http.Handler, a *cacheAsk) {
	if a.found.Alone {
		m.fetch(w, r, next, a, m.joinAlone(a))
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), m.config.Wait, errNoWait)
	defer cancel()
	for {
		f, leads := m.store.Join(a.name, a.key)
		if leads {
			m.fetch(w, r, next, a, f)
			return
		}
		if !a.waits() || m.config.Wait == 0 {
			m.alone(w, r, next, a)
			return
		}
		select {
		case <-f.Done():
		case <-ctx.Done():
			if r.Context().Err() != nil {
				gateway.Fail(w, r, leftWaiting(r.Context()))
				return
			}
			m.alone(w, r, next, a)
			return
		}
		if m.landed(w, r, next, a, f) {
			return
		}
	}
}

// What the Cache-Status of a stale answer says of why it is given.
const (
	staleIfError = "stale-if-error"
	circuitOpen  = "circuit-open"
)

// rescue says why the stored answer may be given in the place of an error, or "" if it
// may not. err is nil if the error is the service's own answer.
func (a *cacheAsk) rescue(err *gateway.Error, now time.Time) (why string) {
	old, bridge := a.found.Answer, err != nil && err.Bridge
	switch {
	case old == nil:
		return ""
	case bridge && old.Bridges(&a.asks, now):
		return circuitOpen
	case old.Rescues(&a.asks, now):
		return staleIfError
	}
	return ""
}

// joinAlone makes a flight that nobody waits for, or nil if there is one of that name.
func (m *cache) joinAlone(a *cacheAsk) *httpcache.Flight {
	if f, leads := m.store.Join(a.name, a.key); leads {
		return f
	}
	return nil
}

// alone fetches an answer that is not stored: somebody else is about to do that.
func (m *cache) alone(w http.ResponseWriter, r *http.Request, next http.Handler, a *cacheAsk) {
	m.fetch(w, r, next, a, nil)
}

// leftWaiting is why a request has ended that waited for another one's answer.
func leftWaiting(ctx context.Context) *gateway.Error {
	if e, ok := errors.AsType[*gateway.Error](context.Cause(ctx)); ok {
		return e
	}
	return &gateway.Error{
		Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: ctx.Err(), Close: true,
	}
}

// landed makes use of what a flight has brought. It is false if that is nothing.
func (m *cache) landed(w http.ResponseWriter, r *http.Request, next http.Handler, a *cacheAsk, f *httpcache.Flight) bool {
	outcome, err := f.Result()
	now := time.Now()
	switch outcome {
	case httpcache.Stored:
		a.found = m.store.Get(a.key, &a.context, a.field)
		if a.found.Answer == nil {
			m.rename(a)
			return false // it was for others
		}
		m.store.Count(a.key, httpcache.Collapsed)
		m.answer(w, r, a.found.Answer, now, []string{"pithead; fwd=uri-miss; collapsed"})
		return true
	case httpcache.Unshared:
		m.alone(w, r, next, a)
		return true
	case httpcache.Failed:
		switch why := a.rescue(err, now); {
		case why != "":
			m.store.Count(a.key, httpcache.Stale)
			m.answer(w, r, a.found.Answer, now, []string{"pithead; fwd=stale; collapsed; detail=" + why})
		case err != nil:
			m.store.Count(a.key, httpcache.Miss)
			gateway.Fail(w, r, err)
		default:
			m.alone(w, r, next, a)
		}
		return true
	case httpcache.Lost: // its client has left
	}
	return false
}

// fetch has the service answer. f is nil if the answer is not to be stored.
func (m *cache) fetch(w http.ResponseWriter, r *http.Request, next http.Handler, a *cacheAsk, f *httpcache.Flight) {
	m.forward(&cacheWriter{under: w, r: r, ask: a, flight: f}, next)
}

// forward sends a request on to where its answer comes from.
func (m *cache) forward(cw *cacheWriter, next http.Handler) {
	cw.m, cw.x, cw.header, cw.begun = m, gateway.ExchangeOf(cw.r), make(http.Header), time.Now()
	defer cw.end()
	cw.prepare()
	next.ServeHTTP(cw, cw.r)
	cw.finish()
}

// prepare says what goes upstream: the conditions of the cache, not those of the client,
// because the answer is to be good for others too.
func (w *cacheWriter) prepare() {
	if old := w.ask.found.Answer; old != nil && old.Bridges(&w.ask.asks, w.begun) {
		w.x.Stored = true
	}
	if w.flight == nil || w.ask.found.Alone {
		w.unconditional = true
		w.watch()
		return
	}
	w.x.DropUpstreamHeader("If-None-Match")
	w.x.DropUpstreamHeader("If-Modified-Since")
	w.x.DropUpstreamHeader("If-Range")
	if old := w.ask.found.Answer; old != nil {
		if old.Etag != "" {
			w.x.SetUpstreamHeader("If-None-Match", old.Etag)
		}
		if !old.Changed.IsZero() {
			w.x.SetUpstreamHeader("If-Modified-Since", old.Changed.UTC().Format(http.TimeFormat))
		}
		w.confirms = old.Etag != "" || !old.Changed.IsZero()
	}
	w.watch()
}

// watch remembers the request as it leaves, to know what its answer is an answer to.
func (w *cacheWriter) watch() {
	before := w.x.AppendUpstreamHeaders(nil)
	w.x.OnSend(func(out *http.Request) {
		w.sent = out.Header.Clone()
		w.changed = string(before) != string(w.x.AppendUpstreamHeaders(nil))
		w.poisonous = poisonous(out, w.r, w.x)
	})
}

// tagsOf reads the tags of an answer.
func (m *cache) tagsOf(h http.Header) (tags []string) {
	if m.tags == "" {
		return nil
	}
	for _, line := range h[m.tags] {
		tags = append(tags, strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' })...)
	}
	return tags
}
