package jwks_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/jwks"
)

// serve is a server of keys on loopback, for as long as the test.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestFetchHostile(t *testing.T) {
	var elsewhere atomic.Int64
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		_, _ = w.Write([]byte(edSet("evil")))
	})
	within := func(limit time.Duration, name string, h http.HandlerFunc, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			s := serve(t, h)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, err := jwks.Remote{URL: s.URL}.Loader()(ctx, false)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
	f := func(name string, h http.HandlerFunc, want string) {
		t.Helper()
		within(20*time.Second, name, h, want)
	}
	f("K01: redirects", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusFound)
	}, "status 302, want 200")
	f("K02: 2 MiB", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat(" ", 2<<20)))
	}, "larger than 1MiB")
	within(300*time.Millisecond, "K02: never ends", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			w.(http.Flusher).Flush()
			<-time.After(10 * time.Millisecond)
		}
	}, "context deadline exceeded")
	f("K02: a huge head", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-A", strings.Repeat("x", 128<<10))
	}, "exceeded")
	f("K03: 500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "status 500")
	f("compressed", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") == "" {
			w.WriteHeader(http.StatusNotAcceptable)
		}
	}, "status 406")
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests to where the redirect leads", n)
	}
}

func TestFetchDiscovery(t *testing.T) {
	var issuer, keysAt string
	var discovered, fetched atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tenant/.well-known/openid-configuration":
			discovered.Add(1)
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, keysAt)
		case "/keys":
			fetched.Add(1)
			w.Header().Set("Cache-Control", `public, max-age="120"`)
			_, _ = w.Write([]byte(edSet("a")))
		default:
			w.WriteHeader(404)
		}
	})
	mine := s.URL + "/tenant/"
	load := jwks.Remote{Issuer: mine}.Loader()
	f := func(name, says, at, want string) {
		t.Helper()
		issuer, keysAt = says, at
		if _, err := load(t.Context(), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	f("another issuer", s.URL+"/other/", s.URL+"/keys", "is that of")
	f("no keys", mine, "", "which is no URL of a web server")
	f("K08: keys by http from elsewhere", mine, "http://id.example.com/keys", "which is not https")
	f("K08: keys at a link-local address", mine, "https://169.254.169.254/keys", "link-local")
	f("keys in a file", mine, "file:///etc/passwd", "no URL")
	f("no longer there", mine, s.URL+"/moved", "status 404")

	issuer, keysAt = mine, s.URL+"/keys"
	before := discovered.Load()
	for range 3 {
		answer, err := load(t.Context(), true)
		if err != nil || answer.Document != edSet("a") || answer.MaxAge != 2*time.Minute {
			t.Errorf("%+v, %v", answer, err)
		}
	}
	if d, n := discovered.Load()-before, fetched.Load(); d != 1 || n != 3 {
		t.Errorf("%d discoveries for %d fetches, want 1 for 3", d, n)
	}
}

func TestRemoteCheck(t *testing.T) {
	f := func(r jwks.Remote, want string) {
		t.Helper()
		err := r.Check()
		if got := fmt.Sprint(err); !strings.Contains(got, want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	f(jwks.Remote{Issuer: "https://id.example.com"}, "<nil>")
	f(jwks.Remote{Issuer: "http://id.example.com"}, "is not https")
	f(jwks.Remote{Issuer: "http://id.example.com", Insecure: true}, "<nil>")
	f(jwks.Remote{URL: "http://127.0.0.1:8080/keys"}, "<nil>")
	f(jwks.Remote{URL: "http://localhost:8080/keys"}, "<nil>")
	f(jwks.Remote{URL: "http://localhost.example.com/keys"}, "is not https")
	f(jwks.Remote{URL: "http://[fe80::1]/keys", Insecure: true}, "link-local")
	f(jwks.Remote{URL: "http://[::ffff:169.254.169.254]/keys", Insecure: true}, "link-local")
	f(jwks.Remote{URL: "https://a:b@id.example.com/"}, "is no URL")
	f(jwks.Remote{Issuer: "orders"}, "is no URL")
}

func TestReadFile(t *testing.T) {
	if _, err := jwks.ReadFile(filepath.Join(t.TempDir(), "none"))(t.Context(), false); err == nil {
		t.Error("no error for no file")
	}
}
