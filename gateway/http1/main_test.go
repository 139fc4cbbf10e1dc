package http1

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// after is one connection's end at a server: it is given each request that comes.
type after func(c net.Conn, r *http.Request)

// says answers each request with the same bytes, when it is whole.
func says(answer string) after {
	return func(c net.Conn, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, answer)
	}
}

// once is says for one request, after which the server closes.
func once(answer string) after {
	return func(c net.Conn, r *http.Request) {
		says(answer)(c, r)
		_ = c.Close()
	}
}

// serve makes a transport whose connections are in memory, and counts them.
func serve(t *testing.T, each after) (tr *Transport, conns *int) {
	t.Helper()
	tr, conns = &Transport{MaxIdlePerHost: 10}, new(int)
	tr.Dial = func(context.Context, string, string) (net.Conn, error) {
		*conns++
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for in := bufio.NewReader(server); ; {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				each(server, r)
			}
		}()
		return client, nil
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr, conns
}

func request(t testing.TB, method, body string) *http.Request {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://a.example/path?q", in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask makes a round trip and reads the answer to its end.
func ask(t testing.TB, rt http.RoundTripper, r *http.Request) (*http.Response, string, error) {
	t.Helper()
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// get is ask for a plain GET that must go well.
func get(t *testing.T, rt http.RoundTripper) (*http.Response, string) {
	t.Helper()
	resp, body, err := ask(t, rt, request(t, http.MethodGet, ""))
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
