package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestLimits(t *testing.T) {
	env, _ := orders(t)
	f := func(name, setting, good, bad string, status int, reason string) {
		t.Helper()
		middlewaretest.Run(t, env, "limits: {"+setting+"}", cases{
			{Name: name + ", within", Request: good},
			{Name: name, Request: bad, Status: status, Reason: reason},
		})
	}
	f("H07 fields", "header_fields: 3", "GET /\nA: 1\nA: 2\nB: 3", "GET /\nA: 1\nA: 2\nB: 3\nC: 4", 431, "limit_header_fields")
	f("H08 bytes", "header_bytes: 20", "GET /\nAb: "+strings.Repeat("x", 14), "GET /\nAb: "+strings.Repeat("x", 15), 431, "limit_header_bytes")
	f("H08 one value", "header_value: 4", "GET /\nA: 1234\nB: 1234", "GET /\nA: 12345", 431, "limit_header_value")
	f("H09 cookies", "cookies: 2", "GET /\nCookie: a=;b=;", "GET /\nCookie: a=;b=\nCookie: c=", 431, "limit_cookies")
	f("path", "path: 4", "GET /abc", "GET /%41b", 414, "limit_path")
	f("segments", "segments: 2", "GET /a/b/", "GET /a/b/c", 414, "limit_segments")
	f("no segments", "segments: 1", "GET /", "GET /a/b", 414, "limit_segments")
	f("query", "query: 3", "GET /?a=1", "GET /?a=12", 414, "limit_query")
	f("P19 params", "query_params: 2", "GET /?a=1&b", "GET /?a&b&c", 400, "limit_query_params")
	f("P19 twice", "unique_params: true", "GET /?a=1&&b=a&&", "GET /?a=1&b&a=2", 400, "limit_unique_params")
	f("P19 twice, encoded", "unique_params: true", "GET /?a=1&A=1", "GET /?user=1&us%65r=2", 400, "limit_unique_params")
	const types = `content_types: [application/json, "image/*"]`
	f("type", types, "POST /\nContent-Type: Application/JSON; charset=utf-8\n\n{}", "POST /\nContent-Type: text/json\n\n{}", 415, "limit_content_type")
	f("all of a type", types, "POST /\nContent-Type: image/png\n\n{}", "POST /\nContent-Type: image/\n\n{}", 415, "limit_content_type")
	f("H13 two types", types, "GET /", "POST /\nContent-Type: image/png\nContent-Type: text/html\n\n{}", 415, "limit_content_type")
	f("no type", types, "GET /\nContent-Type: text/html", "POST /\n\n{}", 415, "limit_content_type")
}

func TestLimitsExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "limits: {segments: 1}")
	x := &gateway.Exchange{}
	if got := step.Explain(middlewaretest.Request(t, "GET /a"), x); got != "is within the limits" || x.Status != 0 {
		t.Errorf("%q, %d", got, x.Status)
	}
	if got := step.Explain(middlewaretest.Request(t, "GET /a/b"), x); !strings.HasPrefix(got, "answers 414 (limit_segments)") || x.Status != 414 {
		t.Errorf("%q, %d", got, x.Status)
	}
}

func TestLimitsMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block, want string) {
		t.Helper()
		if diff := cmp.Diff([]string{want}, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("limits: {}", "1:1: bounds nothing; name at least one bound")
	f("limits: {cookies: -1}", "1:19: must not be negative")
	f("limits: {content_types: [json]}", `1:26: "json" is no media type; write type/subtype or type/*`)
	f(`limits: {content_types: [text/html, "*/*"]}`, `1:37: "*/*" is no media type; write type/subtype or type/*`)
}

func TestLimitsBudget(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, `limits: {header_bytes: 8KiB, header_fields: 50, header_value: 4KiB, cookies: 9, path: 99, segments: 9, query: 99, query_params: 9, content_types: [text/html, application/json]}`)
	h, w := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), &recorder{h: http.Header{}}
	r := gateway.WithExchange(middlewaretest.Request(t, "POST /v1/orders?a=1\nCookie: a=b\nContent-Type: application/json\n\n{}"), new(gateway.Exchange))
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
