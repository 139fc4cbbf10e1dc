package httpcache

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/grammar"
)

// Field is one header field of a stored answer. Requests share its values: a list has
// no room behind it, so that whoever appends makes a copy.
type Field struct {
	Name   string
	Values []string
}

// Answer is a stored answer. It never changes, but for what it remembers of itself.
type Answer struct {
	Terms
	Status  int
	Fields  []Field
	Body    []byte
	Context string // what beside the URL the answer is for
	Etag    string
	Changed time.Time // Last-Modified; zero is unknown

	vary   []string   // names, sorted
	values [][]string // of the request, parallel to vary
	tags   []string
	size   int64
	length []string
	line   atomic.Pointer[Line]
}

// Line is what an answer says of its own age within one second.
type Line struct {
	Second      int64
	Age, Status []string
}

// Line is the age and the state of the answer at now, made once a second at most.
// status is called with the seconds that the answer is still fresh.
func (a *Answer) Line(now time.Time, make func(age, left int64) *Line) *Line {
	second := int64(a.Age(now) / time.Second)
	if l := a.line.Load(); l != nil && l.Second == second {
		return l
	}
	l := make(second, int64(a.Lifetime/time.Second)-second)
	l.Second = second
	a.line.Store(l)
	return l
}

// Parts are what an answer is made of.
type Parts struct {
	Terms   Terms
	Status  int
	Header  http.Header
	Body    []byte
	Context string
	Sent    http.Header // the request as it went to the service
	Tags    []string
	Now     time.Time
}

// omitted are fields that are not of the answer, but of its way here, or of one client.
var omitted = []string{
	"Age", "Cache-Status", "Connection", "Content-Length", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info",
	"Proxy-Connection", "Set-Cookie", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// overhead is what a stored answer takes beside its text, roughly; fieldOverhead what each field does.
const (
	overhead      = 512
	fieldOverhead = 64
)

// NewAnswer makes a stored answer. The header is copied, the body is not.
func NewAnswer(p Parts) *Answer {
	a := &Answer{Terms: p.Terms, Status: p.Status, Body: p.Body, Context: p.Context, tags: p.Tags}
	a.size = overhead + int64(len(p.Context)) + int64(cap(p.Body))
	for name, values := range p.Header {
		if slices.Contains(omitted, name) || len(values) == 0 {
			continue
		}
		a.Fields = append(a.Fields, Field{name, slices.Clip(slices.Clone(values))})
		a.size += fieldOverhead
		for _, v := range values {
			a.size += int64(len(name) + len(v))
		}
	}
	if p.Header.Get("Date") == "" {
		a.Fields = append(a.Fields, Field{"Date", []string{p.Now.UTC().Format(http.TimeFormat)}})
	}
	a.Fields = slices.Clip(a.Fields)
	a.length = []string{strconv.Itoa(len(p.Body))}
	a.Etag = p.Header.Get("Etag")
	a.Changed, _ = http.ParseTime(p.Header.Get("Last-Modified")) // zero if it is none
	a.vary, _ = VaryNames(p.Header)
	for _, name := range a.vary {
		values := slices.Clone(p.Sent[name])
		a.values = append(a.values, values)
		for _, v := range values {
			a.size += fieldOverhead + int64(len(v))
		}
	}
	for _, tag := range a.tags {
		a.size += int64(len(tag)) + 16
	}
	return a
}

// Length is the value of Content-Length. Requests share it.
func (a *Answer) Length() []string { return a.length }

// Header is the answer's header as it was stored.
func (a *Answer) Header() http.Header {
	h := make(http.Header, len(a.Fields))
	for _, f := range a.Fields {
		h[f.Name] = f.Values
	}
	return h
}

// notUpdated are fields of a 304 that say nothing of the stored answer's body (RFC 9111
// section 3.2): a service that gets them wrong must not tear the answer.
var notUpdated = []string{"Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Etag", "Vary"}

// Updated is the header of a, brought up to date by a 304.
func (a *Answer) Updated(by http.Header) http.Header {
	h := a.Header()
	delete(h, "Date") // of a 304 without one it is the time at which that came
	for name, values := range by {
		if len(values) > 0 && !slices.Contains(notUpdated, name) {
			h[name] = values
		}
	}
	return h
}

// fits says whether the answer is for a request with these fields.
func (a *Answer) fits(field func(name string) []string) bool {
	for i, name := range a.vary {
		if !slices.Equal(a.values[i], field(name)) {
			return false
		}
	}
	return true
}

// Bounds of Vary. An answer that asks for more is not worth a place, or is somebody's
// way to fill the cache.
const (
	maxVary       = 8
	maxVaryValues = 4 << 10
)

// keyed are fields that stand in the URL, which every answer depends on.
var keyed = []string{"Host", "X-Forwarded-Host", "X-Forwarded-Proto"}

// VaryNames are the fields of the request that an answer depends on, sorted. ok is
// false if that cannot be told, or is too much.
func VaryNames(h http.Header) (names []string, ok bool) {
	for name := range grammar.Elements(h["Vary"]) {
		name = http.CanonicalHeaderKey(name)
		switch {
		case name == "*":
			return nil, false
		case !slices.Contains(keyed, name) && !slices.Contains(names, name):
			names = append(names, name)
		}
		if len(names) > maxVary {
			return nil, false
		}
	}
	slices.Sort(names)
	return names, true
}

// VaryAgrees says whether the fields that an answer depends on went to the service as
// the cache knows them. One that was changed on the way would not be found under what
// clients send, or be found by those it is not for.
func VaryAgrees(names []string, sent http.Header, field func(name string) []string) bool {
	size := 0
	for _, name := range names {
		values := sent[name]
		if !slices.Equal(values, field(name)) {
			return false
		}
		for _, v := range values {
			size += len(v)
		}
	}
	return size <= maxVaryValues
}

// Tags are those that the answer can be purged by. They are not for writing.
func (a *Answer) Tags() []string { return a.tags }
