package middleware

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/httpcache"
)

// store keeps a whole answer, unless it has been purged before it was here.
func (w *cacheWriter) store(body []byte, header http.Header, status int) {
	length := header.Get("Content-Length")
	if length != "" && length != strconv.Itoa(len(body)) || trailed(header) || w.flight.Outdated() {
		w.flight.End(httpcache.Unshared, nil)
		return
	}
	if cap(body) > len(body)+len(body)/8 {
		body = bytes.Clone(body)
	}
	if w.m.tags != "" && len(header[w.m.tags]) > 0 {
		header = header.Clone()
	}
	tags := w.m.tagsOf(header)
	if len(tags) > 0 {
		delete(header, w.m.tags)
	}
	w.put(httpcache.NewAnswer(httpcache.Parts{
		Terms: w.terms, Status: status, Header: header, Body: body, Context: w.ask.context.Of(&w.terms), Sent: w.sent, Tags: tags, Now: w.answered,
	}))
}

func (w *cacheWriter) put(a *httpcache.Answer) {
	w.m.store.Put(w.ask.key, a)
	if w.flight.Outdated() { // a purge that began meanwhile may have missed it
		w.m.store.Invalidate(w.ask.key)
	}
	w.flight.End(httpcache.Stored, nil)
}

// trailed says that the answer has had trailers that it did not announce.
func trailed(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// confirm gives the stored answer, which the service has said is still good.
func (w *cacheWriter) confirm() {
	old := w.ask.found.Answer
	header := old.Updated(w.header)
	asked := httpcache.Asked{NoStore: w.ask.asks.NoStore, Identified: w.ask.context.Identified, Cookie: len(w.r.Header["Cookie"]) > 0}
	a, same := old, w.header.Get("Etag") == "" || strings.TrimPrefix(w.header.Get("Etag"), "W/") == strings.TrimPrefix(old.Etag, "W/")
	var why string
	w.terms, why = w.m.policy.Judge(asked, old.Status, header, w.begun, w.answered)
	switch {
	case why == "" && same && !w.poisonous && !w.flight.Outdated():
		a = httpcache.NewAnswer(httpcache.Parts{
			Terms: w.terms, Status: old.Status, Header: header, Body: old.Body, Context: old.Context, Sent: w.sent, Tags: old.Tags(), Now: w.answered,
		})
		w.put(a)
	default: // it is of no more use: what has become private, or another answer's validator
		w.m.store.Invalidate(w.ask.key)
		w.flight.End(httpcache.Unshared, nil)
	}
	w.count(httpcache.Revalidated)
	w.m.answer(w.under, w.r, a, w.answered, []string{"pithead; fwd=stale; fwd-status=304"})
}

// rescue gives the stored answer in the place of an error.
func (w *cacheWriter) rescue() {
	w.x.Err = nil // the client gets what it has asked for
	w.count(httpcache.Stale)
	now := time.Now()
	note := "pithead; fwd=stale"
	if w.rescued != circuitOpen { // then nobody was asked
		note += "; fwd-status=" + strconv.Itoa(w.status)
	}
	note += "; ttl=" + strconv.FormatInt(int64(w.ask.found.Answer.Left(now)/time.Second), 10) + "; detail=" + w.rescued
	w.m.answer(w.under, w.r, w.ask.found.Answer, now, []string{note})
}
