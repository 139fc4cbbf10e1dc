package middleware

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/httpcache"
)

// cacheWriter is where the answer to a fetch goes: to the client, into memory, or
// nowhere if something stored is better. Its header is its own, because what
// middlewares outside have put into that of the client is not to be stored.
type cacheWriter struct {
	m      *cache
	under  http.ResponseWriter
	r      *http.Request
	x      *gateway.Exchange
	ask    *cacheAsk
	flight *httpcache.Flight // nil: nothing is stored
	bypass bool              // because of what is asked for
	header http.Header
	begun  time.Time

	sent               http.Header // what went to the service; nil if nothing did
	changed, poisonous bool        // what a later middleware or the client has made of it
	unconditional      bool        // the client's own conditions went upstream
	confirms           bool        // the cache's own did

	status   int    // 0: none yet
	swallow  bool   // the client gets what is stored
	rescued  string // why, if that is in the place of an error
	bodyless bool   // the client has the answer already
	answered time.Time
	terms    httpcache.Terms
	relay    *cacheRelay // nil: the answer is not stored
}

// Header implements http.ResponseWriter.
func (w *cacheWriter) Header() http.Header { return w.header }

// Unwrap is for http.ResponseController.
func (w *cacheWriter) Unwrap() http.ResponseWriter { return w.under }

// WriteHeader implements http.ResponseWriter.
func (w *cacheWriter) WriteHeader(status int) {
	switch {
	case status < http.StatusOK:
		w.interim(status)
		return
	case w.status != 0:
		return
	}
	w.status, w.answered = status, time.Now()
	if w.confirms && status == http.StatusNotModified {
		w.swallow = true
		return
	}
	if status >= http.StatusInternalServerError {
		w.rescued = w.ask.rescue(w.x.Err, w.answered)
		w.swallow = w.rescued != ""
		if w.flight != nil {
			w.flight.End(httpcache.Failed, w.x.Err)
		}
		if w.swallow {
			return
		}
	}
	why := w.judge()
	if why == "" {
		w.relay = newCacheRelay(w)
	} else if w.flight != nil {
		w.flight.End(httpcache.Unshared, nil)
		if status < http.StatusInternalServerError && w.x.Err == nil && !w.x.StandIn && !w.poisonous && !w.ask.context.Identified {
			w.m.store.Alone(w.ask.key, &w.ask.context, w.answered)
		}
	}
	w.commit(why)
}

// interim hands on an answer that is not the last one.
func (w *cacheWriter) interim(status int) {
	h := w.under.Header()
	kept := h.Clone()
	clear(h)
	maps.Copy(h, w.header)
	w.under.WriteHeader(status)
	clear(h)
	maps.Copy(h, kept)
}

// judge says why the answer is not stored, or "" and on which terms it is.
func (w *cacheWriter) judge() (why string) {
	x := w.x
	switch {
	case w.flight == nil:
		return "in-flight"
	case w.x.Err != nil:
		return "error"
	case w.x.StandIn:
		return "not-from-upstream"
	case w.poisonous:
		return "request-header"
	case w.sent == nil, w.ask.arm != [3]string{x.Upstream, x.Arm, x.Subset}:
		return "not-from-upstream"
	}
	asked := httpcache.Asked{NoStore: w.ask.asks.NoStore, Identified: w.ask.context.Identified || x.Subject != "", Cookie: len(w.r.Header["Cookie"]) > 0}
	w.terms, why = w.m.policy.Judge(asked, w.status, w.header, w.begun, w.answered)
	if why != "" {
		return why
	}
	names, _ := httpcache.VaryNames(w.header)
	switch length := w.header.Get("Content-Length"); {
	case !w.terms.Shared && (w.changed || x.Subject != w.ask.subject), !httpcache.VaryAgrees(names, w.sent, w.ask.field):
		return "request-changed"
	case length == "":
	case !w.fits(length):
		return "too-large"
	}
	return ""
}

func (w *cacheWriter) fits(length string) bool {
	n, err := strconv.ParseInt(length, 10, 64)
	return err == nil && n <= int64(w.m.config.MaxObject)
}

// commit sends the head to the client.
func (w *cacheWriter) commit(why string) {
	h := w.under.Header()
	if w.x.Err != nil {
		clear(h) // as gateway.Fail has wanted
	}
	status := w.status
	changed, _ := http.ParseTime(w.header.Get("Last-Modified"))
	if !w.unconditional && status == http.StatusOK && httpcache.NotModified(w.r.Header, w.header.Get("Etag"), changed) {
		status, w.bodyless = http.StatusNotModified, true
	}
	for name, values := range w.header {
		switch there := h[name]; {
		case w.bodyless && !keptBy304[name] && (strings.HasPrefix(name, "Content-") || name == "Trailer"):
		case len(there) > 0 && len(values) > 0:
			h[name] = slices.Concat(there, values)
		default:
			h[name] = values
		}
	}
	w.m.edit(h, w.note(why))
	if w.bodyless && w.relay != nil {
		w.relay.deaf = true
	}
	if w.bypass {
		w.count(httpcache.Bypass)
	} else {
		w.count(httpcache.Miss)
	}
	w.under.WriteHeader(status)
}

func (w *cacheWriter) count(r httpcache.Result) { w.m.store.Count(w.ask.key, r) }

// note is the Cache-Status of an answer that has just been fetched.
func (w *cacheWriter) note(why string) string {
	if w.bypass {
		return "pithead; fwd=request"
	}
	text := "pithead; fwd=" + w.forwarded()
	if why == "" {
		return text + "; stored"
	}
	return text + "; detail=" + why
}

// forwarded is why the request went to the service.
func (w *cacheWriter) forwarded() string {
	switch {
	case w.ask.found.Answer != nil && w.ask.found.Answer.Left(w.begun) > 0 && !w.ask.found.Answer.Validate:
		return "request"
	case w.ask.found.Answer != nil:
		return "stale"
	case w.ask.found.Known:
		return "vary-miss"
	}
	return "uri-miss"
}

// Write implements http.ResponseWriter.
func (w *cacheWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.swallow:
		return len(p), nil
	case w.relay != nil && w.relay.add(p):
		return len(p), nil
	case w.relay != nil: // it has become too large
		w.flight.End(httpcache.Unshared, nil)
		w.m.store.Alone(w.ask.key, &w.ask.context, w.answered)
		err := w.relay.stop()
		if w.relay = nil; err != nil {
			return 0, err
		}
	}
	if w.bodyless {
		return len(p), nil
	}
	return w.under.Write(p)
}

// FlushError is for http.ResponseController.
func (w *cacheWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.swallow, w.bodyless:
		return nil
	case w.relay != nil:
		w.relay.flush()
		return nil
	}
	return http.NewResponseController(w.under).Flush()
}

// finish is for the whole answer.
func (w *cacheWriter) finish() {
	if w.status == 0 {
		if w.x.Status == gateway.StatusClientClosed {
			return // nothing is to be sent, and end tells those who wait
		}
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.swallow && w.status == http.StatusNotModified:
		w.confirm()
		return
	case w.swallow:
		w.rescue()
		return
	case w.relay != nil:
		w.store(w.relay.whole(), w.header, w.status)
		_ = w.relay.stop() // the client's own trouble, of which it has told the exchange
	}
	w.trailers()
}

// trailers hands on what came after the body.
func (w *cacheWriter) trailers() {
	h := w.under.Header()
	for name := range grammar.Elements(w.header["Trailer"]) {
		name = http.CanonicalHeaderKey(name)
		if values, ok := w.header[name]; ok {
			h[name] = values
		}
	}
	for name, values := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			h[name] = values
		}
	}
}

// end is for whatever way the fetch has taken. Nobody is to wait for it any more.
func (w *cacheWriter) end() {
	if w.relay != nil {
		w.relay.abandon()
	}
	if w.flight != nil {
		w.flight.End(httpcache.Lost, nil)
	}
}
