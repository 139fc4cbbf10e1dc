package admin

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func documentOf(route string) ([]byte, error) {
	switch route {
	case "shop", "a/b":
		return []byte(`{"openapi":"3.1.0"}`), nil
	case "dark":
		return nil, errors.New("the upstream has not told its descriptors yet")
	}
	return nil, ErrNoDocument
}

func TestOpenAPIPages(t *testing.T) {
	h, err := New((&daemon{}).options())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path   string
		status int
		media  string
		body   string
	}{
		{"", 200, "text/html; charset=utf-8", `<script src="ui/openapi.js">`},
		{"routes", 200, "application/json", `"a/b"`},
		{"shop.json", 200, "application/json", `{"openapi":"3.1.0"}`},
		{"a%2Fb.json", 200, "application/json", `{"openapi":"3.1.0"}`},
		{"other.json", 404, "application/problem+json", "openapi_route"},
		{"dark.json", 503, "application/problem+json", "has not told its descriptors yet"},
		{"ui/openapi.js", 200, "text/javascript; charset=utf-8", "SwaggerUIBundle"},
		{"ui/swagger-ui-bundle.js", 200, "text/javascript; charset=utf-8", "SwaggerUIBundle"},
		{"ui/swagger-ui.css", 200, "text/css; charset=utf-8", ".swagger-ui"},
		{"ui/swagger-ui.css.gz", 404, "application/problem+json", "not_found"},
		{"ui/../admin.go", 404, "application/problem+json", "not_found"},
		{"ui/", 404, "application/problem+json", "not_found"},
		{"swagger/openapi.html", 404, "application/problem+json", "not_found"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/-/openapi/", nil)
			r.URL.Path, r.URL.RawPath = "/-/openapi/"+strings.ReplaceAll(tt.path, "%2F", "/"), "/-/openapi/"+tt.path
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || w.Header().Get("Content-Type") != tt.media || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("%d %s: %.200s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			if tt.media[:4] == "text" && w.Header().Get("Content-Security-Policy") != swaggerPolicy {
				t.Error("no policy")
			}
		})
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/-/openapi/ui/swagger-ui.css", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > 64<<10 {
		t.Errorf("%q, %d bytes", w.Header().Get("Content-Encoding"), w.Body.Len())
	}
}

// The files are those that the page about them names.
func TestSwaggerIsWhatItSays(t *testing.T) {
	page, err := os.ReadFile("swagger/README.md")
	if err != nil {
		t.Fatal(err)
	}
	packed, err := filepath.Glob("swagger/*.gz")
	if err != nil || len(packed) != 2 {
		t.Fatal(packed, err)
	}
	for _, name := range packed {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, z); err != nil {
			t.Fatal(err)
		}
		_ = f.Close() // it was only read
		line := "| " + strings.TrimSuffix(filepath.Base(name), ".gz") + " | " + hex.EncodeToString(sum.Sum(nil)) + " |"
		if !strings.Contains(string(page), line) {
			t.Errorf("the page has no line %s", line)
		}
	}
}
