package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// FuzzRewrite asks of every path that a client can think of: what goes upstream,
// or into a Location, is canonical, and no other host.
func FuzzRewrite(f *testing.F) {
	for _, path := range []string{
		"/api/x", "/api", "/api./admin", "/api/a%2Fb", "/api/%2e%2e/x", "/api/..;/x", "//evil.com/%2f..", "/api/a-.-/b", "/api/caf%C3%A9", "/a;b%3Bc%25",
	} {
		f.Add(path)
	}
	var handlers []http.Handler
	var sent string
	last := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { sent = r.URL.EscapedPath() })
	env := under(f, "/api")
	for _, block := range []string{
		"rewrite: {prefix: /}", "rewrite: {prefix: /v2}", `rewrite: {regex: "^/api"}`, `rewrite: {regex: "^/api", to: /}`,
		`rewrite: {regex: "^/([^/]*)/([^/]*)", to: "/$2/$1"}`, `rewrite: {regex: "[^/]*-"}`, `rewrite: {regex: "%"}`,
		"redirect: {prefix: /, host: b.example}", "redirect: {prefix: /v2, host: b.example}",
	} {
		handlers = append(handlers, middlewaretest.Build(f, env, block).Wrap(last))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path, _, err := canon.Path(raw, canon.AnyEncoded)
		if err != nil {
			return
		}
		for i, h := range handlers {
			sent = ""
			w, x := discard{http.Header{}}, &gateway.Exchange{Scheme: "https"}
			r := middlewaretest.Request(t, "GET /")
			canon.SetPath(r.URL, path)
			h.ServeHTTP(w, gateway.WithExchange(r, x))
			if location := w.h.Get("Location"); location != "" {
				var ours bool
				if sent, ours = strings.CutPrefix(location, "https://b.example"); !ours {
					t.Errorf("block %d sends %q to %s", i, path, location)
				}
			}
			if x.Err != nil && x.Err.Status == http.StatusBadRequest && sent == "" {
				continue
			}
			if again, _, err := canon.Path(sent, canon.AnyEncoded); err != nil || again != sent {
				t.Errorf("block %d makes %q of %q: %v", i, sent, path, err)
			}
		}
	})
}
