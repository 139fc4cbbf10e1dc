package server

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// What a request costs at the front: one connection, a handler that says hello.
func BenchmarkRequest(b *testing.B) {
	_, f := atRest(say("hello"), usual("h1"))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sock := newSocket("", ln, slog.New(slog.DiscardHandler))
	go f.run()
	sock.serve(f)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close()
	sock.close()
	f.retire(b.Context(), 0)
}

// What a request costs from a client through the whole gateway to a service and
// back, all in one process. The compiler's profile is made of it (make pgo).
func BenchmarkGateway(b *testing.B) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 10<<10))
	}))
	defer origin.Close()
	dir := b.TempDir()
	if err := localhostPair(b, 1).write(dir); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, "pithead.yaml")
	put(b, path, fmt.Sprintf(`access_log: {output: "off"}
reload: {watch: false}
listeners:
  web: {address: "127.0.0.1:0"}
  tls: {address: "127.0.0.1:0", tls: {certificates: [{cert: %[1]s/cert.pem, key: %[1]s/key.pem}]}}
upstreams: {u: {discover: {static: {targets: [%[2]q]}}}}
routes: [{name: r, match: {prefix: /}, to: u}]
`, dir, strings.TrimPrefix(origin.URL, "http://"))+ending)
	h := realHouse(b, path)
	for _, c := range []struct{ name, listener, body string }{
		{"get", "web", ""}, {"post", "web", strings.Repeat("x", 10<<10)}, {"h2", "tls", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			client := origin.Client().Transport.(*http.Transport).Clone()
			defer client.CloseIdleConnections()
			url := "http://" + h.Addrs()[c.listener].String()
			if c.listener == "tls" {
				client.ForceAttemptHTTP2, client.TLSClientConfig = true, &tls.Config{InsecureSkipVerify: true}
				url = strings.Replace(url, "http:", "https:", 1)
			}
			b.ReportAllocs()
			for b.Loop() {
				method := http.MethodGet
				if c.body != "" {
					method = http.MethodPost
				}
				req, _ := http.NewRequestWithContext(b.Context(), method, url, strings.NewReader(c.body))
				res, err := client.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
					b.Fatal(res.Status, err)
				}
				_ = res.Body.Close()
			}
		})
	}
}
