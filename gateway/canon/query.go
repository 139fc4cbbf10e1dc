package canon

import (
	"strings"

	"github.com/pithead/pithead/gateway"
)

const (
	queryNever  uint8 = 1 << iota // raw, servers disagree about it or it ends a line
	queryEscape                   // legal only in percent-encoded form
	queryPercent
)

var queryBytes = func() (t [256]uint8) {
	for c := range 0x20 {
		t[c] = queryNever
	}
	for _, c := range []byte(" ;#\x7f") {
		t[c] = queryNever
	}
	for c := 0x80; c < 0x100; c++ {
		t[c] = queryEscape
	}
	t['%'] = queryPercent
	return t
}()

// canonicalQuery refuses what parsers split or decode differently: semicolons
// (CVE-2022-2880), bad escapes, control bytes, and more parameters than a
// policy may want to look at (CVE-2026-39825). Raw bytes above ASCII are escaped; all
// else stays as sent, because order and repetition mean something upstream.
func canonicalQuery(raw string, limit int) (string, error) {
	if raw == "" {
		return raw, nil
	}
	var seen uint8
	for i := range len(raw) {
		b := queryBytes[raw[i]]
		seen |= b
		if b == queryPercent && (i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2])) {
			return "", badQuery("the query holds a percent sign that is not followed by two hexadecimal digits")
		}
	}
	if seen&queryNever != 0 {
		return "", badQuery("the query holds a semicolon, a space, a number sign or a control character")
	}
	if strings.Count(raw, "&") >= limit {
		return "", gateway.BadRequest("query_params", "the query has too many parameters")
	}
	if seen&queryEscape == 0 {
		return raw, nil
	}
	w := pathWriter{out: make([]byte, 0, 3*len(raw))}
	for i := range len(raw) {
		if queryBytes[raw[i]] == queryEscape {
			w.escape(raw[i])
		} else {
			w.out = append(w.out, raw[i])
		}
	}
	return string(w.out), nil
}

func badQuery(msg string) error { return gateway.BadRequest("bad_query", msg) }
