package hostile_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A16 and A17: whatever a client writes into what is logged, a request is one
// line, the line is one JSON object with the usual keys, and it holds no secret.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	const secret = "s3cr3t-value"
	forged := `{"level":"info","user":"admin"}`
	e.run(t, []row{
		{name: "A16 newline in the path", in: get("/a%0a" + strings.ReplaceAll(forged, `"`, "%22")), status: 400, reason: "bad_path"},
		{name: "A16 quotes in the path", in: get(`/"}` + "%22%7d"), status: 200, open: true, to: "GET /%22%7D%22%7D"},
		{name: "A16 JSON in the query", in: get("/?a=" + forged), status: 200, open: true, to: "GET /?a=" + forged},
		{name: "A16 escape sequence", in: get("/", "User-Agent: \x1b[2J"), status: 400, reason: "bad_header"},
		{name: "A16 encoded escape sequence", in: get("/?a=%1b[2J%0d%0a"), status: 200, open: true, to: "GET /?a=%1b[2J%0d%0a"},
		{name: "A16 tab", in: get("/", "User-Agent: a\tb"), status: 200, open: true, to: "GET /"},
		{name: "A16 quotes", in: get("/", `User-Agent: "},{"x":"\`), status: 200, open: true, to: "GET /"},
		{name: "A16 invalid UTF-8", in: get("/", "User-Agent: \xff\xc0\xae\xed\xa0\x80"), status: 200, open: true, to: "GET /"},
		{name: "A16 C1 control characters", in: get("/", "User-Agent: \xc2\x85\xc2\x9b"), status: 200, open: true, to: "GET /"},
		{name: "A16 line separator", in: get("/", "User-Agent: \u2028\u2029"), status: 200, open: true, to: "GET /"},
		{name: "A16 raw bytes in the path", in: get("/\xff\x80"), status: 400, reason: "bad_path"},
		{name: "A16 host", in: rawHost(`a"}\b`), status: 400, reason: "bad_host"},
		{name: "A16 referer", in: get("/", `Referer: http://a/"%0a\u000a`), status: 200, open: true, to: "GET /"},
		{name: "A16 15 KiB", in: get("/", "User-Agent: "+strings.Repeat("\"", 15<<10)), status: 200, open: true, to: "GET /"},
		{name: "A17 headers", in: get("/", "Authorization: Bearer "+secret, "Cookie: session="+secret, "X-Api-Key: "+secret), status: 200, open: true, to: "GET /"},
		{
			name: "A17 query", in: get("/?token=" + secret + "&code=" + secret + "&access_token=" + secret + "&password=" + secret), status: 200, open: true,
			to: "GET /?token=" + secret + "&code=" + secret + "&access_token=" + secret + "&password=" + secret,
		},
		{name: "A17 query in other spellings", in: get("/?a=1&TOKEN=" + secret + "&%74oken=" + secret), status: 200, open: true, to: "GET /?a=1&TOKEN=" + secret + "&%74oken=" + secret},
		{name: "A17 referer", in: get("/", "Referer: https://a/?token="+secret+"#access_token="+secret), status: 200, open: true, to: "GET /"},
		{name: "A17 userinfo of the referer", in: get("/", "Referer: https://user:"+secret+"@a/"), status: 200, open: true, to: "GET /"},
		{name: "A17 userinfo of the target", in: get("http://user:" + secret + "@a.example/"), status: 400, reason: "bad_target"},
		{name: "A17 refused query", in: get("/?token=" + secret + ";a"), status: 400, reason: "bad_query"},
	})
	known := []string{
		"id", "time", "client", "listener", "proto", "scheme", "method", "host", "path", "query", "status", "bytes_in", "bytes_out",
		"duration_ms", "gateway_ms", "upstream_ms", "ttfb_ms", "route", "upstream", "arm", "arm_by", "endpoint", "attempts", "subject",
		"user_agent", "referer", "reason", "cause", "error", "whose_fault", "phases",
	}
	all := (&logFile{path: e.log.path}).all(t)
	for text := range strings.Lines(all) {
		parseLine(t, strings.TrimSuffix(text, "\n"))
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		for _, key := range slices.Sorted(maps.Keys(line)) {
			if !slices.Contains(known, key) {
				t.Errorf("key %q in %s", key, text)
			}
		}
		if strings.Contains(text, secret) {
			t.Errorf("a secret in %s", text)
		}
	}
}
