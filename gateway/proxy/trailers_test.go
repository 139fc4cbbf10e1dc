package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// To see these fail, leave the trailers to ReverseProxy in answer.Close: they
// are added to a header of the same name, and the sum is sent as the trailer.
func TestTrailers(t *testing.T) {
	for name, tc := range map[string]struct {
		announced, unannounced []string
		want                   http.Header
	}{
		"announced":                        {[]string{"A"}, nil, http.Header{"A": {"tail"}}},
		"unannounced":                      {nil, []string{"A"}, http.Header{"A": {"tail"}}},
		"announced, name of a header":      {[]string{"X-Head"}, nil, http.Header{"X-Head": {"tail"}}},
		"unannounced, name of a header":    {nil, []string{"X-Head"}, http.Header{"X-Head": {"tail"}}},
		"both":                             {[]string{"A"}, []string{"B"}, http.Header{"A": {"tail"}, "B": {"tail"}}},
		"both, announced name of a header": {[]string{"X-Head"}, []string{"B"}, http.Header{"X-Head": {"tail"}, "B": {"tail"}}},
		"both, other name of a header":     {[]string{"A"}, []string{"X-Head"}, http.Header{"A": {"tail"}, "X-Head": {"tail"}}},
		"framing":                          {nil, []string{"A", "Content-Length", "Transfer-Encoding"}, http.Header{"A": {"tail"}}},
	} {
		up := serveRaw(t, func(c net.Conn, _ *bufio.Reader, _ *http.Request) {
			lines := []string{"HTTP/1.1 200 OK", "X-Head: head", "Content-Type: text/plain", "Transfer-Encoding: chunked"}
			if len(tc.announced) > 0 {
				lines = append(lines, "Trailer: "+strings.Join(tc.announced, ", "))
			}
			_, _ = io.WriteString(c, crlf(lines...)+"2\r\nok\r\n0\r\n")
			for _, name := range append(tc.announced, tc.unannounced...) {
				_, _ = io.WriteString(c, name+": tail\r\n")
			}
			_, _ = io.WriteString(c, "\r\n")
		})
		for _, h2c := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", name, h2c), func(t *testing.T) {
				d := open(t, newCluster(t, up, false), nil)
				res := do(t, client(t, h2c), request(t, "GET", d.addr, "/", nil))
				if b := body(t, res); b != "ok" {
					t.Errorf("body %q", b)
				}
				if diff := cmp.Diff([]string{"head"}, res.Header["X-Head"]); diff != "" {
					t.Errorf("header: %s", diff)
				}
				if diff := cmp.Diff(tc.want, res.Trailer); diff != "" {
					t.Errorf("trailers: %s", diff)
				}
			})
		}
	}
}

// An announced trailer that never comes must not be made up of the header of
// the same name.
func TestMissingTrailer(t *testing.T) {
	answer := crlf("HTTP/1.1 200 OK", "X-Head: head", "Transfer-Encoding: chunked", "Trailer: X-Head, A") + "2\r\nok\r\n0\r\nA: tail\r\n\r\n"
	d := open(t, newCluster(t, reply(t, answer), false), nil)
	res := do(t, client(t, false), request(t, "GET", d.addr, "/", nil))
	body(t, res)
	if diff := cmp.Diff([]string(nil), res.Trailer["X-Head"]); diff != "" {
		t.Error(diff)
	}
}

func TestRequestTrailers(t *testing.T) {
	for _, back := range []bool{false, true} {
		got := make(chan http.Header, 1)
		up := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			got <- r.Trailer
		}))
		d := open(t, newCluster(t, up, back), nil)
		for name, tc := range map[string]struct {
			head []string
			tail string
			want http.Header
		}{
			"announced":         {[]string{"Trailer: X-Sum"}, "X-Sum: 1\r\n", http.Header{"X-Sum": {"1"}}},
			"U10 not announced": {nil, "X-Gw-User: root\r\n", nil},
			"U10 one of two":    {[]string{"Trailer: X-Sum"}, "X-Gw-User: root\r\nX-Sum: 1\r\n", http.Header{"X-Sum": {"1"}}},
		} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", name, back), func(t *testing.T) {
				c := dial(t, d.addr)
				c.send(t, crlf(append([]string{"POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"}, tc.head...)...)+"1\r\nx\r\n0\r\n"+tc.tail+"\r\n")
				c.answer(t, "POST")
				if diff := cmp.Diff(tc.want, <-got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}
