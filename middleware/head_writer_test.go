package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pithead/pithead/middleware/middlewaretest"
)

// However an answer begins, its final head is edited, once, and no interim one.
func TestHeadIsEditedOnce(t *testing.T) {
	f := func(name string, answer http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			env, _ := orders(t)
			h := middlewaretest.Build(t, env, `cors: {allow_origins: ["https://a"]}`).Wrap(answer)
			srv := httptest.NewServer(h)
			defer srv.Close()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
			r.RequestURI = ""
			r.Header.Set("Origin", "https://a")
			res, err := srv.Client().Transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got := res.Header["Access-Control-Allow-Origin"]; len(got) != 1 || got[0] != "https://a" {
				t.Errorf("the head says %q", got)
			}
		})
	}
	f("nothing is written", func(http.ResponseWriter, *http.Request) {})
	f("a body", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) })
	f("a head", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	f("a flush", func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	})
	f("an interim answer", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Error("the interim answer is edited")
		}
		w.WriteHeader(http.StatusOK)
		w.Header().Set("Access-Control-Allow-Origin", "late")
		_, _ = w.Write([]byte("x"))
	})
}
