package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// interims reads interim answers up to the final one.
func interims(t *testing.T, c *raw, method string) ([]*http.Response, *http.Response, string) {
	t.Helper()
	var all []*http.Response
	for {
		res := c.head(t, method)
		if res.StatusCode >= 200 {
			return all, res, body(t, res)
		}
		all = append(all, res)
	}
}

// To see these fail, leave Got1xxResponse to ReverseProxy in dispatcher.RoundTrip:
// any number of interim answers passes, and the header that a middleware has set
// for the final answer goes out with the first and is then lost.
func TestInterimAnswers(t *testing.T) {
	hint := crlf("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload", "Connection: X-Hop", "X-Hop: 1")
	ok := crlf("HTTP/1.1 200 OK", "Content-Length: 2", "Content-Type: text/plain") + "ok"
	set := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Arm", "canary")
			next.ServeHTTP(w, r)
		})
	}
	for name, tc := range map[string]struct {
		answer       string
		hints, final int
	}{
		"one 103":                 {hint + ok, 1, 200},
		"U15 five 103":            {strings.Repeat(hint, 5) + ok, 5, 200},
		"U15 six 103":             {strings.Repeat(hint, 6) + ok, 5, 502},
		"X17 3000 103":            {strings.Repeat(hint, 3000) + ok, 5, 502},
		"U15 102 stays here":      {crlf("HTTP/1.1 102 Processing") + ok, 0, 200},
		"U15 unknown stays here":  {crlf("HTTP/1.1 142 Odd") + ok, 0, 200},
		"U14 unasked 100":         {crlf("HTTP/1.1 100 Continue") + ok, 0, 200},
		"U15 six others":          {strings.Repeat(crlf("HTTP/1.1 102 Processing"), 6) + ok, 0, 502},
		"103 without any headers": {crlf("HTTP/1.1 103 Early Hints") + ok, 1, 200},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, reply(t, tc.answer), false), set)
			c := dial(t, d.addr)
			c.send(t, crlf("GET / HTTP/1.1", "Host: a"))
			got, final, _ := interims(t, c, "GET")
			if len(got) != tc.hints || final.StatusCode != tc.final {
				t.Fatalf("%d interim answers and a %d, want %d and %d", len(got), final.StatusCode, tc.hints, tc.final)
			}
			for _, res := range got {
				want := http.Header{"Link": {"</a.css>; rel=preload"}}
				if strings.Contains(name, "without") {
					want = http.Header{}
				}
				if diff := cmp.Diff(want, res.Header); res.StatusCode != http.StatusEarlyHints || diff != "" {
					t.Errorf("interim %d: %s", res.StatusCode, diff)
				}
			}
			if tc.final == 502 {
				d.wantErr(t, 502, "interim_flood", gateway.CauseUpstream)
				return
			}
			if diff := cmp.Diff([]string{"canary"}, final.Header["X-Arm"]); diff != "" {
				t.Errorf("header of the middleware: %s", diff)
			}
			if v := final.Header["Link"]; v != nil {
				t.Errorf("the final answer has the hint's header: %q", v)
			}
		})
	}
}

// HTTP/1.0 knows no interim answers, RFC 9110 section 15.2.
func TestNoInterimAnswersForHTTP10(t *testing.T) {
	d := open(t, newCluster(t, reply(t, crlf("HTTP/1.1 103 Early Hints")+crlf("HTTP/1.1 200 OK", "Content-Length: 0")), false), nil)
	c := dial(t, d.addr)
	c.send(t, crlf("GET / HTTP/1.0", "Host: a"))
	if res := c.head(t, "GET"); res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestInterimAnswersOverHTTP2(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			w.WriteHeader(http.StatusProcessing)
		}
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	}))
	d := open(t, newCluster(t, up, true), nil)
	c := dial(t, d.addr)
	c.send(t, crlf("GET / HTTP/1.1", "Host: a"))
	got, final, _ := interims(t, c, "GET")
	if len(got) != 1 || got[0].StatusCode != http.StatusEarlyHints || final.StatusCode != http.StatusNoContent {
		t.Errorf("%d interim answers, then %d", len(got), final.StatusCode)
	}
}

// Both the upstream and net/http say 100 Continue; the client must hear it once.
func TestU14OneContinue(t *testing.T) {
	for _, h2c := range []bool{false, true} {
		up := &seen{}
		d := open(t, newCluster(t, serve(t, up), h2c), nil)
		c := dial(t, d.addr)
		for range 2 {
			c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Expect: 100-continue"))
			if res := c.head(t, "POST"); res.StatusCode != http.StatusContinue {
				t.Fatalf("status %d", res.StatusCode)
			}
			c.send(t, "abc")
			got, final, _ := interims(t, c, "POST")
			if up.request(t); len(got) != 0 || final.StatusCode != http.StatusOK || final.Close || up.body != "abc" {
				t.Errorf("HTTP/2 %v: %d more interim answers, status %d, close %v, upstream got %q", h2c, len(got), final.StatusCode, final.Close, up.body)
			}
		}
	}
}

// A client whose upload is refused early gets the refusal, and the connections
// to the upstream stay in order (CVE-2024-24791). A 100 may come before it:
// net/http's transport sends the body all the same when it could keep the
// connection then.
func TestU13EarlyRefusal(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			_, _ = io.WriteString(c, crlf("HTTP/1.1 403 Forbidden", "Content-Length: 2")+"no")
			return
		}
		_, _ = io.WriteString(c, crlf("HTTP/1.1 200 OK", "Content-Length: 2")+"ok")
	})
	d := open(t, newCluster(t, up, false), nil)
	c := dial(t, d.addr)
	c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 3", "Expect: 100-continue"))
	got, final, b := interims(t, c, "POST")
	if len(got) > 1 || final.StatusCode != http.StatusForbidden || b != "no" || !final.Close {
		t.Errorf("%d interim answers, status %d %q, close %v", len(got), final.StatusCode, b, final.Close)
	}
	hc := client(t, false)
	for range 100 {
		res := do(t, hc, request(t, "GET", d.addr, "/", nil))
		if b := body(t, res); res.StatusCode != http.StatusOK || b != "ok" {
			t.Fatalf("later request: %d %q", res.StatusCode, b)
		}
	}
}
