package canon

import (
	"net/http"
	"strings"
)

const (
	traceparentSize = len("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	maxTracestate   = 4 << 10
	maxTraceMembers = 32 // W3C Trace Context, 3.3.1.1
)

// traceContext takes out a trace context that not everybody would read alike, so that the next
// one who traces begins a new trace (W3C Trace Context, 2.2 and 3.2). tracestate is nothing
// without traceparent.
func traceContext(h http.Header) {
	parents := h["Traceparent"]
	if len(parents) != 1 || !traceparent(parents[0]) {
		delete(h, "Traceparent")
		delete(h, "Tracestate")
		return
	}
	size, members := 0, 0
	for _, line := range h["Tracestate"] {
		size += len(line)
		members += strings.Count(line, ",") + 1
	}
	if size > maxTracestate || members > maxTraceMembers {
		delete(h, "Tracestate")
	}
}

// traceparent says whether s is one: of version 00, or of a later one, which may have more
// behind it.
func traceparent(s string) bool {
	if len(s) < traceparentSize || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	switch {
	case !lowerHex(version), !lowerHex(trace), !lowerHex(parent), !lowerHex(flags), version == "ff":
		return false
	case len(s) > traceparentSize && (version == "00" || s[traceparentSize] != '-'):
		return false
	}
	return strings.Trim(trace, "0") != "" && strings.Trim(parent, "0") != ""
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
