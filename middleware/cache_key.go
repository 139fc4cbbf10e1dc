package middleware

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/httpcache"
)

// appendCacheKey adds the URL that the answer to r is stored under. Host and path are
// those of the canonical view, which is what everybody behind the gateway gets as well.
func appendCacheKey(b []byte, x *gateway.Exchange, r *http.Request) []byte {
	b = append(append(b, x.Scheme...), "://"...)
	b = append(b, r.Host...)
	b = append(b, r.URL.EscapedPath()...)
	if r.URL.RawQuery != "" {
		b = append(append(b, '?'), r.URL.RawQuery...)
	}
	return b
}

// context is what beside the URL the answer to r depends on: where the request goes, and
// what middlewares have told the service in headers that no client can send.
func (m *cache) context(b []byte, x *gateway.Exchange, r *http.Request) httpcache.Context {
	for _, part := range [...]string{m.env.Route, x.Upstream, x.Arm, x.Subset} {
		b = append(append(b, part...), 0)
	}
	for _, name := range m.inKey {
		for _, v := range x.UpstreamHeader(r.Header, name) {
			b = append(append(b, v...), 0)
		}
		b = append(b, '\n')
	}
	if x.Trusted {
		for _, name := range smuggling {
			for _, v := range r.Header[name] {
				b = append(append(append(append(b, name...), 0), v...), 0)
			}
		}
	}
	c := httpcache.Context{
		Common: len(b), Identified: x.Subject != "" || len(r.Header["Authorization"]) > 0, Cookie: len(r.Header["Cookie"]) > 0,
	}
	c.Whole = x.AppendUpstreamHeaders(b)
	return c
}

// narrow takes out of the query what answers are not stored under, so that it cannot
// change them, and puts the rest in order.
func (m *cache) narrow(r *http.Request) *http.Request {
	query := r.URL.RawQuery
	if query == "" || m.query == nil && !m.config.Key.SortQuery {
		return r
	}
	parts := strings.Split(query, "&")
	if m.query != nil {
		parts = slices.DeleteFunc(parts, func(part string) bool {
			name, _, _ := strings.Cut(part, "=")
			name, err := url.QueryUnescape(name)
			return err != nil || !m.query[name]
		})
	}
	if m.config.Key.SortQuery {
		slices.SortStableFunc(parts, func(a, b string) int {
			a, _, _ = strings.Cut(a, "=")
			b, _, _ = strings.Cut(b, "=")
			return strings.Compare(a, b)
		})
	}
	narrowed := strings.Join(parts, "&")
	if narrowed == query {
		return r
	}
	u := *r.URL
	u.RawQuery = narrowed
	out := r.WithContext(r.Context())
	out.URL = &u
	return out
}

// smuggling are headers from which some services take the URL or the method, without
// a word in Vary: whoever sends one could have its answer given to everybody. What trusted
// proxies say there is part of what their answers are stored under.
var smuggling = []string{
	"Forwarded", "X-Forwarded-Host", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl",
	"X-Forwarded-Uri", "X-Host", "X-Http-Host-Override", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override",
	"X-Original-Host", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Uri", "X-Rewrite-Url",
}

// poisonous says that the request, as it goes to the service, may have been about
// another URL than the one that its answer would be stored under.
func poisonous(sent, r *http.Request, x *gateway.Exchange) bool {
	if x.Trusted {
		return false
	}
	for _, name := range smuggling {
		if name != "X-Forwarded-Host" && len(sent.Header[name]) > 0 {
			return true
		}
	}
	host, proto := sent.Header["X-Forwarded-Host"], sent.Header["X-Forwarded-Proto"]
	return len(host) > 0 && (len(host) > 1 || host[0] != r.Host) || len(proto) > 0 && (len(proto) > 1 || proto[0] != x.Scheme)
}
