package httpcache

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Policy is what an operator may want beyond what answers say.
type Policy struct {
	TTL      time.Duration // lifetime of answers that tell none; 0 does not store them
	Force    bool          // TTL counts also for answers that tell one
	Statuses []int         // of answers that TTL is for

	Heuristic float64 // share of the time since Last-Modified; 0 is no guessing

	StaleWhileRevalidating, StaleWhileFailed time.Duration // where answers say nothing
	StripSetCookie                           bool
}

// Asked is what matters of the request for the question whether its answer may be
// stored.
type Asked struct {
	NoStore    bool
	Identified bool // it says who the caller is: Authorization, or what the gateway has proven
	Cookie     bool
}

// Terms are how long a stored answer may be used, and for whom.
type Terms struct {
	Born     time.Time // when the answer would have had the age 0
	Lifetime time.Duration

	StaleWhileRevalidating, StaleWhileFailed time.Duration

	Validate bool // before each use
	Strict   bool // never used stale
	Shared   bool // also for callers who say who they are
}

// known are the statuses whose meaning for a cache is understood. 206 is not among
// them: parts are not stored.
var known = []int{200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 451, 501}

// maxHeuristic bounds a lifetime that is guessed.
const maxHeuristic = 24 * time.Hour

// maxHeader is how large the fields of a stored answer may be.
const maxHeader = 32 << 10

// Why an answer is not stored. The words go into Cache-Status.
const (
	whyRequest   = "request-no-store"
	whyStatus    = "status"
	whyNoStore   = "no-store"
	whyPrivate   = "private"
	whyIdentity  = "identified-caller"
	whyCookie    = "set-cookie"
	whyVary      = "vary"
	whyHeader    = "header-too-large"
	whyTrailer   = "trailer"
	whyFreshness = "no-freshness"
	whyStream    = "stream"
)

// Judge says on which terms an answer may be stored, or why not (RFC 9111 section
// 3). requested and answered are when the request left and the head came back.
func (p *Policy) Judge(asked Asked, status int, h http.Header, requested, answered time.Time) (Terms, string) {
	d := ParseControl(h)
	if why := p.refuse(asked, status, h, &d); why != "" {
		return Terms{}, why
	}
	t := Terms{
		Born: answered.Add(-initialAge(h, requested, answered)), Validate: d.NoCache,
		Strict:                 d.Strict || d.SMaxAge >= 0 || d.NoCache,
		Shared:                 d.Public || d.SMaxAge >= 0 || d.Strict,
		StaleWhileRevalidating: d.StaleWhileRevalidating, StaleWhileFailed: d.StaleWhileFailed,
	}
	if asked.Identified && !t.Shared {
		return Terms{}, whyIdentity // RFC 9111 section 3.5
	}
	if t.StaleWhileRevalidating < 0 {
		t.StaleWhileRevalidating = p.StaleWhileRevalidating
	}
	if t.StaleWhileFailed < 0 {
		t.StaleWhileFailed = p.StaleWhileFailed
	}
	var ok bool
	if t.Lifetime, ok = p.lifetime(asked, status, h, &d, answered); !ok {
		return Terms{}, whyFreshness
	}
	if t.Lifetime <= 0 && !hasValidator(h) && t.StaleWhileRevalidating <= 0 && t.StaleWhileFailed <= 0 {
		return Terms{}, whyFreshness // nothing could ever be done with it
	}
	return t, ""
}

func (p *Policy) refuse(asked Asked, status int, h http.Header, d *Directives) string {
	switch {
	case asked.NoStore:
		return whyRequest
	case !slices.Contains(known, status):
		return whyStatus
	case d.NoStore:
		return whyNoStore
	case d.Private:
		return whyPrivate
	case len(h["Set-Cookie"]) > 0 && !p.StripSetCookie, len(h["Clear-Site-Data"]) > 0:
		return whyCookie
	case len(h["Trailer"]) > 0:
		return whyTrailer
	case strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "text/event-stream"):
		return whyStream
	case headerSize(h) > maxHeader:
		return whyHeader
	}
	if _, ok := VaryNames(h); !ok {
		return whyVary
	}
	return ""
}

// lifetime is how long the answer is fresh; ok is false if nothing tells. The
// operator's TTL is never for requests with a cookie or a proof: pages of one person
// are what a service forgets to mark, and what web cache deception is after.
func (p *Policy) lifetime(asked Asked, status int, h http.Header, d *Directives, answered time.Time) (time.Duration, bool) {
	ours := p.TTL > 0 && !asked.Identified && !asked.Cookie && slices.Contains(p.Statuses, status)
	expires, told := h["Expires"]
	switch {
	case ours && p.Force:
		return p.TTL, true
	case d.SMaxAge >= 0:
		return d.SMaxAge, true
	case d.MaxAge >= 0:
		return d.MaxAge, true
	case told:
		until, err := http.ParseTime(expires[0])
		if err != nil || len(expires) > 1 {
			return 0, true // RFC 9111 section 5.3: in the past
		}
		return until.Sub(dateOf(h, answered)), true
	case d.NoCache && hasValidator(h):
		return 0, true
	case ours:
		return p.TTL, true
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if p.Heuristic <= 0 || err != nil || asked.Identified || asked.Cookie {
		return 0, false
	}
	since := max(0, dateOf(h, answered).Sub(modified))
	return min(time.Duration(float64(since)*p.Heuristic), maxHeuristic), true
}

// dateOf is when the service says that it has made the answer.
func dateOf(h http.Header, answered time.Time) time.Time {
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		return date
	}
	return answered
}

// initialAge is corrected_initial_age of RFC 9111 section 4.2.3.
func initialAge(h http.Header, requested, answered time.Time) time.Duration {
	apparent := max(0, answered.Sub(dateOf(h, answered)))
	age := time.Duration(0)
	if told := h["Age"]; len(told) > 0 {
		age = seconds(told[0])
	}
	return max(apparent, age+max(0, answered.Sub(requested)))
}

func hasValidator(h http.Header) bool { return h.Get("Etag") != "" || h.Get("Last-Modified") != "" }

func headerSize(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// Use is what may be done with a stored answer now.
type Use uint8

// What may be done with a stored answer.
const (
	UseFetch   Use = iota // nothing, before the service has confirmed it
	UseFresh              // give it
	UseStale              // give it, because the client takes stale answers
	UseRefresh            // give it, and ask the service meanwhile
)

// Age is how old the answer is.
func (t *Terms) Age(now time.Time) time.Duration { return max(0, now.Sub(t.Born)) }

// Left is how long the answer is still fresh; negative once it is stale.
func (t *Terms) Left(now time.Time) time.Duration { return t.Lifetime - t.Age(now) }

// Use says what may be done with the answer for a request that asks with d.
func (t *Terms) Use(d *Directives, now time.Time) Use {
	age, left := t.Age(now), t.Left(now)
	switch {
	case t.Validate || d.NoCache || d.MaxAge >= 0 && age > d.MaxAge || d.MinFresh >= 0 && left < d.MinFresh:
		return UseFetch
	case left > 0:
		return UseFresh
	case t.Strict:
		return UseFetch
	case d.MaxStale >= 0 && -left <= d.MaxStale:
		return UseStale
	case t.StaleWhileRevalidating > 0 && -left <= t.StaleWhileRevalidating:
		return UseRefresh
	}
	return UseFetch
}

// Rescues says whether the answer may be given in the place of an error.
func (t *Terms) Rescues(d *Directives, now time.Time) bool {
	return t.Bridges(d, now) && t.StaleWhileFailed > 0 && -t.Left(now) <= t.StaleWhileFailed
}

// Bridges says whether the answer, however stale, may be given while the service
// cannot be asked: a cache that is cut off may do that (RFC 9111 section 4.2.4), unless
// the answer forbids it. It is not for a client that wants nothing stale.
func (t *Terms) Bridges(d *Directives, now time.Time) bool {
	return !t.Strict && !d.NoCache && d.MinFresh < 0 && (d.MaxAge < 0 || t.Age(now) <= d.MaxAge)
}

// Understood says whether answers with this status can be stored at all.
func Understood(status int) bool { return slices.Contains(known, status) }
