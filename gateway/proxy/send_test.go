package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// upper is a body around another one.
type upper struct{ io.ReadCloser }

func (u upper) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	copy(p, strings.ToUpper(string(p[:n])))
	return n, err
}

// What is looked at is what goes upstream: without the headers of the connection,
// with those that middlewares and the gateway set. A body put around it is the one
// that is sent.
func TestOnSend(t *testing.T) {
	var looked http.Header
	calls := 0
	look := exchangeSets(func(x *gateway.Exchange) {
		x.OnSend(func(out *http.Request) {
			calls, looked = calls+1, out.Header.Clone()
			out.Body = upper{out.Body}
		})
		x.SetUpstreamHeader("X-Gw-User", "alice") // later than the look was asked for
	})
	bodies := make(chan string, 1)
	up := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
	}))
	c := dial(t, open(t, newCluster(t, up, false), look).addr)
	c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Connection: X-Hop", "X-Hop: 1", "X-Gw-User: mallory", "Content-Length: 5")+"hello")
	if res, b := c.answer(t, "POST"); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, b)
	}
	if body := <-bodies; body != "HELLO" || calls != 1 {
		t.Errorf("the upstream got %q after %d looks", body, calls)
	}
	got := []string{looked.Get("X-Gw-User"), looked.Get("X-Hop"), looked.Get("X-Forwarded-For")}
	if diff := cmp.Diff([]string{"alice", "", "127.0.0.1"}, got); diff != "" {
		t.Errorf("looked at (-want +got):\n%s", diff)
	}
}
