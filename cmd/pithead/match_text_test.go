package main

import (
	"testing"

	"github.com/pithead/pithead/gateway/config"
)

func TestMatchText(t *testing.T) {
	f := func(match, want string) {
		t.Helper()
		cfg, err := config.Parse(config.FilesOf("x.yaml", []byte("upstreams: {a: {discover: {static: {}}}}\nroutes: [{to: a, match: "+match+"}]\n")))
		if err != nil {
			t.Fatal(err)
		}
		if got := matchesText(cfg.Routes[0].Match); got != want {
			t.Errorf("%s: got %q, want %q", match, got, want)
		}
	}
	f("{}", "/*")
	f("{host: a.example, prefix: /v1/}", "a.example/v1/*")
	f("{path_regex: /a.*, methods: [GET, PUT]}", "GET,PUT ~/a.*")
	f("{path: /a, headers: {a: '', b: c, d: {regex: e}, f: {not: g}, h: {absent: true}}}",
		"/a header a header b=c header d=~e header f!=g header !h")
	f("{query: {q: 1}, clients: [10.0.0.0/8, 192.0.2.1], listeners: [web]}", "/* query q=1 client 10.0.0.0/8,192.0.2.1/32 listener web")
	f("{host: a.example, grpc: {service: a.B, method: {regex: C.*}}}", "a.example grpc a.B/~C.*")
	f("[{prefix: /a}, {grpc: {}}]", "/a/* | grpc */*")
}
