package httpcache

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// absent is the duration of a directive that is not there.
const absent time.Duration = -1

// longest is what RFC 9111 section 1.2.2 has for numbers that are too large.
const longest = math.MaxInt32 * time.Second

// Directives are the parts of Cache-Control that a shared cache heeds. Of a
// duration that is given twice the stricter one counts, since two readers could
// take either.
type Directives struct {
	NoStore, NoCache, Private, Public bool

	Strict       bool // must-revalidate or proxy-revalidate
	OnlyIfCached bool

	MaxAge, SMaxAge, MinFresh, MaxStale      time.Duration // negative: not given
	StaleWhileRevalidating, StaleWhileFailed time.Duration
}

// ParseControl reads the Cache-Control fields of a request or an answer. A
// directive whose argument is nonsense is read as the strictest one.
func ParseControl(h http.Header) Directives {
	d := Directives{MaxAge: absent, SMaxAge: absent, MinFresh: absent, MaxStale: absent, StaleWhileRevalidating: absent, StaleWhileFailed: absent}
	for _, line := range h["Cache-Control"] {
		for line != "" {
			var part string
			part, line = nextPart(line)
			d.add(part)
		}
	}
	return d
}

// nextPart cuts a list at the first comma that is not quoted.
func nextPart(list string) (part, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch {
		case quoted && list[i] == '\\':
			i++
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}

func (d *Directives) add(part string) {
	name, argument, given := strings.Cut(part, "=")
	name = strings.TrimSpace(name)
	is := func(directive string) bool { return strings.EqualFold(name, directive) }
	switch {
	case is("no-store"):
		d.NoStore = true
	case is("no-cache"): // with names of fields it would be about those alone, which is more than anyone relies on
		d.NoCache = true
	case is("private"):
		d.Private = true
	case is("public"):
		d.Public = true
	case is("must-revalidate"), is("proxy-revalidate"):
		d.Strict = true
	case is("only-if-cached"):
		d.OnlyIfCached = true
	case is("max-age"):
		shorter(&d.MaxAge, seconds(argument))
	case is("s-maxage"):
		shorter(&d.SMaxAge, seconds(argument))
	case is("min-fresh"):
		d.MinFresh = max(d.MinFresh, seconds(argument))
	case is("max-stale") && !given:
		d.MaxStale = longest
	case is("max-stale"):
		shorter(&d.MaxStale, seconds(argument))
	case is("stale-while-revalidate"):
		shorter(&d.StaleWhileRevalidating, seconds(argument))
	case is("stale-if-error"):
		shorter(&d.StaleWhileFailed, seconds(argument))
	}
}

func shorter(d *time.Duration, with time.Duration) {
	if *d == absent || with < *d {
		*d = with
	}
}

// seconds reads delta-seconds, quoted or not. What is no number is 0.
func seconds(text string) time.Duration {
	text = strings.Trim(strings.TrimSpace(text), `"`)
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0
		}
	}
	n, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err == nil:
		return time.Duration(n) * time.Second
	case text != "":
		return longest // all digits, so that only its size can be wrong
	}
	return 0
}
