package middleware

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/httpcache"
)

// cacheLine is what an answer from memory says of itself.
func cacheLine(age, left int64) *httpcache.Line {
	return &httpcache.Line{
		Age:    []string{strconv.FormatInt(age, 10)},
		Status: []string{"pithead; hit; ttl=" + strconv.FormatInt(left, 10)},
	}
}

// keptBy304 are the fields of an answer that a 304 repeats.
var keptBy304 = map[string]bool{
	"Cache-Control": true, "Content-Location": true, "Date": true, "Etag": true, "Expires": true, "Last-Modified": true, "Vary": true,
}

// answer writes a stored answer. note is the Cache-Status; nil is that of a hit.
func (m *cache) answer(w http.ResponseWriter, r *http.Request, a *httpcache.Answer, now time.Time, note []string) {
	h, unchanged := w.Header(), a.NotModified(r.Header)
	for i := range a.Fields {
		f := &a.Fields[i]
		if unchanged && !keptBy304[f.Name] {
			continue
		}
		if there := h[f.Name]; len(there) > 0 {
			h[f.Name] = append(slices.Clip(there), f.Values...)
		} else {
			h[f.Name] = f.Values
		}
	}
	line := a.Line(now, cacheLine)
	h["Age"] = line.Age
	if note == nil {
		note = line.Status
	}
	if m.config.CacheStatus {
		h["Cache-Status"] = note
	}
	switch {
	case unchanged:
		w.WriteHeader(http.StatusNotModified)
		return
	case a.Status == http.StatusOK && r.Method == http.MethodGet && oneRange(r.Header):
		http.ServeContent(w, r, "", a.Changed, bytes.NewReader(a.Body))
		return
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // net/http would guess one
	}
	if bodyAllowed(a.Status) {
		h["Content-Length"] = a.Length()
	}
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead && len(a.Body) > 0 {
		_, _ = w.Write(a.Body) //nolint:gosec // the service's own answer, as it came; a client that left is noticed by the server
	}
}

// oneRange says whether a single part is wanted. A list of parts is answered with the
// whole, as a server may: thousands of tiny ones would cost more than they bring.
func oneRange(h http.Header) bool {
	values := h["Range"]
	return len(values) == 1 && !strings.Contains(values[0], ",")
}
