package httpcache

import (
	"net/http"
	"strings"
	"time"
)

// NotModified says whether a client that asks with these conditions has the answer
// already (RFC 9110 section 13.2.2).
func (a *Answer) NotModified(h http.Header) bool {
	if a.Status != http.StatusOK {
		return false
	}
	return NotModified(h, a.Etag, a.Changed)
}

// NotModified says whether a client with these conditions has what the validators
// stand for. If-None-Match comes before If-Modified-Since, which then does not count.
func NotModified(h http.Header, etag string, changed time.Time) bool {
	if lines, ok := h["If-None-Match"]; ok {
		return etag != "" && listed(lines, etag)
	}
	since, ok := h["If-Modified-Since"]
	if !ok || len(since) != 1 || changed.IsZero() {
		return false
	}
	t, err := http.ParseTime(since[0])
	return err == nil && !changed.After(t)
}

// listed says whether etag is in a list, by the weak comparison.
func listed(lines []string, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for _, line := range lines {
		for line != "" {
			var part string
			part, line = nextPart(line)
			part = strings.TrimSpace(part)
			if part == "*" || strings.TrimPrefix(part, "W/") == etag {
				return true
			}
		}
	}
	return false
}
