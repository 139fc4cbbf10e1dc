package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

type onePage Page

func (p onePage) Page(_ *http.Request, status int, reason string) Page {
	if status != 503 || reason != "no_endpoint" {
		return Page{Vary: true}
	}
	return Page(p)
}

func TestFailWritesThePage(t *testing.T) {
	f := func(method, reason, wantType, wantBody, length string) {
		t.Helper()
		x := &Exchange{Pages: onePage{MediaType: "text/html", Body: []byte("<p>"), Vary: true}}
		w := httptest.NewRecorder()
		Fail(w, WithExchange(httptest.NewRequest(method, "/", nil), x), &Error{Status: 503, Reason: reason, RetryAfter: 1, Allow: "GET", Challenge: "Bearer"})
		res := w.Result()
		body, _ := io.ReadAll(res.Body)
		h := res.Header
		if h.Get("Content-Type") != wantType || h.Get("Vary") != "Accept" || h.Get("Retry-After") != "1" || h.Get("Allow") != "GET" || h.Get("WWW-Authenticate") != "Bearer" ||
			h.Get("Cache-Control") != "no-store" || h.Get("Content-Length") != length || res.StatusCode != 503 || x.Err == nil {
			t.Errorf("%s %s: %d %v, error %v", method, reason, res.StatusCode, h, x.Err)
		}
		if string(body) != wantBody {
			t.Errorf("%s %s: %q, want %q", method, reason, body, wantBody)
		}
	}
	const problem = `{"type":"about:blank","title":"Service Unavailable","status":503,"reason":"other"}` + "\n"
	f("GET", "no_endpoint", "text/html", "<p>", "3")
	f("HEAD", "no_endpoint", "text/html", "", "3")
	f("GET", "other", "application/problem+json", problem, "83")
}
