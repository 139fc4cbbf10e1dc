package admin

import (
	"context"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

func TestGuard(t *testing.T) {
	d := &daemon{}
	h := handler(t, d.options())

	t.Run("A06", func(t *testing.T) {
		start := func(address string, token gateway.Secret, ok bool) {
			t.Helper()
			o := d.options()
			o.Address, o.Token = address, token
			if _, err := New(o); (err == nil) != ok {
				t.Errorf("%s with token %v: %v", address, token != "", err)
			}
		}
		for _, address := range []string{"127.0.0.1:9901", "127.9.9.9:1", "[::1]:9901", "[::ffff:127.0.0.1]:1", "localhost:9901", "unix:/run/x.sock"} {
			start(address, "", true)
		}
		for _, address := range []string{":9901", "0.0.0.0:9901", "[::]:9901", "10.0.0.1:9901", "gateway.example.com:9901", "localhost.example.com:1"} {
			start(address, "", false)
			start(address, "secret", true)
		}
		start("9901", "secret", false)

		o := d.options()
		o.Address, o.Token = "10.0.0.1:9901", "secret"
		h := handler(t, o)
		for _, header := range []string{"X-No: token", "Authorization: secret", "Authorization: Basic secret", "Authorization: Bearer", "Authorization: Bearer secre", "Authorization: Bearer secret "} {
			refused(t, ask(h, "POST", "/-/reload", "", header), 401, "token")
		}
		if rec := ask(h, "POST", "/-/reload", "", "Authorization: bearer secret"); rec.Code != 200 {
			t.Error(rec.Code, rec.Body)
		}
		for _, target := range []string{"/metrics", "/readyz", "/-/routes"} {
			if rec := ask(h, "GET", target, ""); rec.Code != 200 {
				t.Errorf("%s: %d", target, rec.Code)
			}
		}
	})

	t.Run("A07", func(t *testing.T) {
		o := d.options()
		o.Hosts = []string{"Admin.example.com", "other.example.com:9901"}
		h := handler(t, o)
		for _, host := range []string{
			"127.0.0.1", "127.0.0.1:9901", "localhost", "LOCALHOST:1", "localhost.:9901", "[::1]:9901", "[::1]",
			"admin.example.com", "admin.example.com:9901", "OTHER.example.com",
		} {
			if rec := ask(h, "GET", "/-/config", "", "Host: "+host); rec.Code != 200 {
				t.Errorf("%s: %d", host, rec.Code)
			}
		}
		for _, host := range []string{
			"", "evil.com", "evil.com:9901", "127.0.0.1.evil.com", "localhost.evil.com", "evil.com:127.0.0.1", "0.0.0.0:9901",
			"127.0.0.2", "[::1", "localhost@evil.com", "evil.com#localhost", "2130706433", "0x7f.1", ":9901",
		} {
			for _, target := range []string{"/-/config", "/metrics", "/healthz", "/nothing"} {
				refused(t, ask(h, "GET", target, "", "Host: "+host), 403, "host_not_allowed")
			}
		}
	})

	t.Run("A08", func(t *testing.T) {
		for _, header := range []string{
			"Origin: https://evil.com", "Origin: null", "Origin: http://localhost:3000", "Origin: http://127.0.0.1", "Origin: ",
			"Origin: http://127.0.0.1:9901.evil.com", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: new-word",
		} {
			refused(t, ask(h, "POST", "/-/reload", "{}", asJSON, header), 403, "cross_site")
			refused(t, ask(h, "GET", "/-/config", "", header), 403, "cross_site")
		}
		refused(t, ask(h, "POST", "/-/reload", "", "Origin: http://127.0.0.1:9901", "Origin: http://evil.com"), 403, "cross_site")
		for _, header := range []string{"Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "Content-Type: multipart/form-data; boundary=x", "X-No: type"} {
			refused(t, ask(h, "POST", "/-/reload", "{}", header), 415, "content_type")
		}
		refused(t, ask(h, "POST", "/-/reload", "", "Content-Type: text/plain"), 415, "content_type")
		refused(t, ask(h, "POST", "/-/reload", "", "Origin: http://127.0.0.1:9901"), 415, "content_type")
		if n := d.status().Generation; n != 1 {
			t.Errorf("%d reloads, want the one of A06", n)
		}
		if rec := ask(h, "POST", "/-/reload", "{}", asJSON, "Origin: http://127.0.0.1:9901", "Sec-Fetch-Site: same-origin"); rec.Code != 200 {
			t.Error(rec.Code, rec.Body)
		}
	})

	t.Run("A09", func(t *testing.T) {
		before := d.status().Generation
		for _, target := range []string{
			"/-/reload/", "//-/reload", "/-//reload", "/-/./reload", "/-/x/../reload", "/metrics/../-/reload", "/%2d/reload",
			"/-%2freload", "/-/reloa%64", "/-/RELOAD", "/-/reload;x", "/-/reload%00", "/-", "/-/", "/", "/metrics/x",
		} {
			refused(t, ask(h, "POST", target, ""), 404, "not_found")
		}
		if d.status().Generation != before {
			t.Error("a disguised path reloaded")
		}
	})

	t.Run("A10", func(t *testing.T) {
		for _, target := range []string{"/debug/pprof/", "/debug/vars", "/debug/pprof/heap"} {
			refused(t, ask(h, "GET", target, ""), 404, "not_found")
		}
		//nolint:forbidigo // the test is that nothing is registered there
		if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", "/debug/pprof/", nil)); pattern != "" {
			t.Errorf("something registered %q on the default mux", pattern)
		}
	})

	t.Run("A11", func(t *testing.T) {
		root := filepath.Join("..", "..")
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, i := range file.Imports {
				if strings.Trim(i.Path.Value, `"`) == "net/http/pprof" {
					t.Errorf("%s imports net/http/pprof", path)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})

	t.Run("A20", func(t *testing.T) {
		for _, target := range []string{"/healthz", "/readyz"} {
			rec := ask(h, "GET", target, "")
			text := rec.Body.String()
			for name, values := range rec.Header() {
				text += name + strings.Join(values, "")
			}
			for _, leak := range []string{"1.2.3", "go1", "2026", "Server", "pithead"} {
				if strings.Contains(text, leak) {
					t.Errorf("%s tells %q: %s", target, leak, text)
				}
			}
		}
	})
}

func TestHostOfConnection(t *testing.T) {
	o := (&daemon{}).options()
	o.Address, o.Token = ":9901", "secret"
	h := handler(t, o)
	from := func(local net.Addr, host string) int {
		r := httptest.NewRequest("GET", "/healthz", nil)
		r.Host = host
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local)))
		return rec.Code
	}
	pod := &net.TCPAddr{IP: net.ParseIP("10.1.2.3"), Port: 9901}
	for host, want := range map[string]int{"10.1.2.3:9901": 200, "[::ffff:10.1.2.3]:9901": 200, "10.1.2.4:9901": 403, "pod.example.com": 403, "": 403} {
		if got := from(pod, host); got != want {
			t.Errorf("%q: %d, want %d", host, got, want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(t, (&daemon{}).options())
		for i := range requestsPerSecond {
			if rec := ask(h, "GET", "/-/status", ""); rec.Code != 200 {
				t.Fatalf("request %d: %d", i, rec.Code)
			}
		}
		rec := ask(h, "POST", "/-/reload", "")
		refused(t, rec, 429, "admin_rate_limit")
		if rec.Header().Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", rec.Header().Get("Retry-After"))
		}
		for _, target := range []string{"/healthz", "/readyz", "/metrics"} {
			if rec := ask(h, "GET", target, ""); rec.Code != 200 {
				t.Errorf("%s: %d", target, rec.Code)
			}
		}
		<-time.After(15 * time.Millisecond)
		if rec := ask(h, "GET", "/-/status", ""); rec.Code != 200 {
			t.Errorf("after 15 ms: %d", rec.Code)
		}
		refused(t, ask(h, "GET", "/-/status", ""), 429, "admin_rate_limit")
	})
}
