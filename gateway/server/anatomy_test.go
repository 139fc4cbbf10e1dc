package server

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestServerTiming(t *testing.T) {
	for name, c := range map[string]struct {
		settings string
		told     bool
	}{
		"off by default":           {"", false},
		"all":                      {", anatomy: {server_timing: all, sample: 0%}", true},
		"all, and sampled":         {", anatomy: {server_timing: all, sample: 100%}", true},
		"trusted, who nobody is":   {", anatomy: {server_timing: trusted}", false},
		"off, sampled all the way": {", anatomy: {sample: 100%}", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := whole(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Server-Timing", "db;dur=7")
				_ = http.NewResponseController(w).Flush() // so that there can be trailers
				_, _ = io.WriteString(w, "ok")
			}, c.settings)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.Addrs()["web"].String(), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Te", "trailers")
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			head, trailer := strings.Join(resp.Header["Server-Timing"], ", "), resp.Trailer.Get("Server-Timing")
			if !strings.Contains(head, "db;dur=7") {
				t.Errorf("what the service tells is lost: %q", head)
			}
			if told := strings.Contains(head, "upstream_service;dur="); told != c.told {
				t.Errorf("head %q", head)
			}
			if told := strings.Contains(trailer, "upstream_service;dur="); told != c.told {
				t.Errorf("trailer %q", trailer)
			}
		})
	}
}
