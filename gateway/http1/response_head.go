package http1

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/grammar"
)

// statusLines are those of all statuses that have a name.
var statusLines = func() (lines [2][600]string) {
	for minor := range lines {
		for status := range lines[minor] {
			if text := http.StatusText(status); text != "" {
				lines[minor][status] = "HTTP/1." + strconv.Itoa(minor) + " " + strconv.Itoa(status) + " " + text + "\r\n"
			}
		}
	}
	return lines
}()

func appendStatus(b []byte, minor, status int) []byte {
	if status < len(statusLines[minor]) && statusLines[minor][status] != "" {
		return append(b, statusLines[minor][status]...)
	}
	b = strconv.AppendInt(append(append(b, "HTTP/1."...), byte('0'+minor), ' '), int64(status), 10)
	return append(append(append(b, " status code "...), strconv.Itoa(status)...), "\r\n"...)
}

var namesPool = sync.Pool{New: func() any { s := make([]string, 0, 32); return &s }}

// appendFields appends those fields that keep wants, in order. Names that are no
// tokens are left out, and control bytes become spaces: no handler can make a second
// head.
func appendFields(b []byte, h http.Header, keep func(name string) bool) []byte {
	pooled := namesPool.Get().(*[]string)
	names := (*pooled)[:0]
	for name := range h {
		if grammar.IsToken(name) && keep(name) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, cmp.Compare[string])
	for _, name := range names {
		for _, value := range h[name] {
			b = append(append(b, name...), ": "...)
			b = append(appendValue(b, value), "\r\n"...)
		}
	}
	clear(names)
	*pooled = names[:0]
	namesPool.Put(pooled)
	return b
}

func appendValue(b []byte, value string) []byte {
	value = grammar.Trim(value)
	if grammar.IsValue(value) {
		return append(b, value...)
	}
	for i := range len(value) {
		if c := value[i]; grammar.IsValue([]byte{c}) {
			b = append(b, c)
		} else {
			b = append(b, ' ')
		}
	}
	return b
}

func appendList(b []byte, name string, elements []string) []byte {
	return append(append(append(b, name...), strings.Join(elements, ", ")...), "\r\n"...)
}

// keepAlive tells a client of HTTP/1.0 that the connection stays.
const keepAlive = "Connection: keep-alive\r\n"

// appendConnection says what becomes of the connection.
func (w *response) appendConnection(b []byte, h http.Header) []byte {
	for element := range grammar.Elements(h["Connection"]) {
		if !strings.EqualFold(element, "close") && !strings.EqualFold(element, "keep-alive") && grammar.IsToken(element) {
			b = append(append(append(b, "Connection: "...), element...), "\r\n"...)
		}
	}
	switch {
	case w.close:
		return append(b, "Connection: close\r\n"...)
	case w.minor == 0 && (w.length != lengthUnknown || w.bodiless):
		return append(b, keepAlive...)
	}
	return b
}

// announce notes the trailers that the handler announces.
func (w *response) announce(h http.Header) {
	if w.minor == 0 || !bodyAllowed(w.status) || w.length != lengthUnknown {
		return
	}
	for name := range grammar.Elements(h["Trailer"]) {
		if name = http.CanonicalHeaderKey(name); grammar.IsToken(name) && !isFraming(name) {
			w.trailers = append(w.trailers, name)
		}
	}
}

// addTrailers finds those that were not announced, before it is too late for chunks.
func (w *response) addTrailers() {
	if w.minor == 0 || w.bodiless || w.length != lengthUnknown {
		return
	}
	for name := range w.header {
		if bare, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && grammar.IsToken(bare) && !isFraming(bare) {
			w.trailers = append(w.trailers, name)
		}
	}
}

// appendTrailers appends what comes after the last chunk.
func (w *response) appendTrailers(b []byte) []byte {
	slices.Sort(w.trailers)
	for _, name := range w.trailers {
		for _, value := range w.header[name] {
			b = append(append(b, strings.TrimPrefix(name, http.TrailerPrefix)...), ": "...)
			b = append(appendValue(b, value), "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// dated is a second in the words of the Date field.
type dated struct {
	second int64
	text   string
}

var today atomic.Pointer[dated]

// date is the value of the Date field (RFC 9110 section 5.6.7), made once a second.
func date(now time.Time) string {
	second := now.Unix()
	if d := today.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &dated{second, now.UTC().Format(http.TimeFormat)}
	today.Store(d)
	return d.text
}
