package middleware

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// apiKeyPlace is a place where a key may stand, ready to be looked at.
type apiKeyPlace struct {
	header string // canonical; "" for a query parameter
	scheme string
	query  string
}

func newAPIKeyPlace(p APIKeyPlace) apiKeyPlace {
	place := apiKeyPlace{scheme: p.Scheme, query: p.Query}
	if p.Header != "" {
		place.header = http.CanonicalHeaderKey(p.Header)
	}
	return place
}

// find returns what stands there, and how often something does. A value that is
// empty counts: whoever sends it meant to send a key.
func (p *apiKeyPlace) find(r *http.Request) (value string, n int) {
	if p.header == "" {
		_, value, n = cutParameter(r.URL.RawQuery, p.query, false)
		return value, n
	}
	for _, line := range r.Header[p.header] {
		if key, ok := p.ofLine(line); ok {
			value = key
			n++
		}
	}
	return value, n
}

// ofLine takes the scheme off a line of the header.
func (p *apiKeyPlace) ofLine(line string) (string, bool) {
	if p.scheme == "" {
		return line, true
	}
	scheme, key, ok := strings.Cut(line, " ")
	if !ok || !strings.EqualFold(scheme, p.scheme) {
		return "", false
	}
	return strings.TrimLeft(key, " "), true
}

// hide takes what stands there out of the request that goes upstream.
func (p *apiKeyPlace) hide(r *http.Request, x *gateway.Exchange) *http.Request {
	if p.header != "" {
		if _, n := p.find(r); n > 0 {
			x.DropUpstreamHeader(p.header)
		}
		return r
	}
	rest, _, n := cutParameter(r.URL.RawQuery, p.query, true)
	if n == 0 {
		return r
	}
	out, u := r.WithContext(r.Context()), *r.URL
	u.RawQuery, u.ForceQuery = rest, false
	out.URL, out.RequestURI = &u, u.RequestURI()
	return out
}

// cutParameter finds a parameter in a canonical query: the last of its values and
// how many there are. rest is the query without it, if that is wanted.
func cutParameter(raw, name string, wantRest bool) (rest, value string, n int) {
	if raw == "" {
		return "", "", 0
	}
	var others []string
	for part := range strings.SplitSeq(raw, "&") {
		key, escaped, _ := strings.Cut(part, "=")
		if unescapeQuery(key) == name {
			value = unescapeQuery(escaped)
			n++
		} else if wantRest {
			others = append(others, part)
		}
	}
	return strings.Join(others, "&"), value, n
}

// unescapeQuery decodes part of a query. The canonical view has seen to it that
// all of its escapes are good.
func unescapeQuery(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	decoded, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return decoded
}
