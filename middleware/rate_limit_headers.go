package middleware

import (
	"net/http"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway/limiter"
)

const (
	headersStandard = "standard"
	headersLegacy   = "legacy"
	headersBoth     = "both"
	headersNone     = "none"
)

// rateHeaders tell clients of the limits.
type rateHeaders struct {
	standard, legacy bool
	policy           string // the value of RateLimit-Policy
}

func newRateHeaders(headers string, limits []limiter.Limit) rateHeaders {
	h := rateHeaders{
		standard: headers == headersStandard || headers == headersBoth,
		legacy:   headers == headersLegacy || headers == headersBoth,
	}
	var b []byte
	for _, l := range limits {
		b = member(b, l.Name, ";q=", l.Burst, ";w=", seconds(l.Refill()))
	}
	h.policy = string(b)
	return h
}

// member appends an item of a list with two parameters, RFC 9651, 3.1.
func member(b []byte, name, first string, n int64, second string, m int64) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = append(append(append(b, '"'), name...), '"')
	b = strconv.AppendInt(append(b, first...), n, 10)
	return strconv.AppendInt(append(b, second...), m, 10)
}

// seconds are rounded up, so that who waits them does not come too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// set tells how much of its limits a key has left. The standard fields are lists, to which
// every limit on the way adds its own; of the others the last one stays.
func (h rateHeaders) set(to http.Header, b *rateBuckets, key uint64) {
	if !h.standard && !h.legacy {
		return
	}
	var room [limiter.MaxLimits]limiter.Level
	levels := b.levels(key, room[:0])
	if h.standard {
		to.Add("RateLimit-Policy", h.policy)
		to.Add("RateLimit", remaining(levels))
	}
	if h.legacy {
		l := nearest(levels)
		to.Set("X-RateLimit-Limit", strconv.FormatInt(l.Limit.Burst, 10))
		to.Set("X-RateLimit-Remaining", strconv.FormatInt(l.Remaining, 10))
		to.Set("X-RateLimit-Reset", strconv.FormatInt(seconds(l.Full), 10))
	}
}

// remaining is the value of RateLimit.
func remaining(levels []limiter.Level) string {
	b := make([]byte, 0, 128)
	for _, l := range levels {
		b = member(b, l.Limit.Name, ";r=", l.Remaining, ";t=", seconds(l.Full))
	}
	return string(b)
}

// nearest is the limit with the smallest share left.
func nearest(levels []limiter.Level) (worst limiter.Level) {
	least := 2.0
	for _, l := range levels {
		if share := float64(l.Remaining) / float64(l.Limit.Burst); share < least {
			worst, least = l, share
		}
	}
	return worst
}

// text is what set would say, for people.
func (h rateHeaders) text(levels []limiter.Level) string {
	var b []byte
	for _, l := range levels {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(append(append(b, l.Limit.Name...), ": "...), l.Remaining, 10)
		b = append(strconv.AppendInt(append(b, " of "...), l.Limit.Burst, 10), " left"...)
	}
	return string(b)
}
