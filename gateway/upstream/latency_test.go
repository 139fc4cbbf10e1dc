package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// following is turns for a policy that wants to know how long endpoints take.
func following(eps []*gateway.Endpoint) gateway.Picker {
	for _, ep := range eps {
		ep.Stats.Latency.Follow(10 * time.Second)
	}
	return turns(eps)
}

// lateAfter answers every request with text after a time.
func lateAfter(d time.Duration, text string) func(net.Conn) {
	return func(conn net.Conn) {
		br := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			after(d)
			_, _ = io.WriteString(conn, text)
		}
	}
}

func TestLatencyOfAnswers(t *testing.T) {
	const early = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	send := func(t *testing.T, c *Cluster, body io.Reader) time.Duration {
		t.Helper()
		method := http.MethodGet
		if body != nil {
			method = http.MethodPost
		}
		r, x := request(t, method, body)
		resp, err := c.RoundTrip(r)
		if err == nil {
			if _, err := read(t, resp); err != nil {
				t.Error(err)
			}
		}
		average := x.Endpoint.Stats.Latency.At(time.Now())
		return time.Duration(average * float64(time.Second)).Round(time.Millisecond)
	}
	want := func(t *testing.T, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("the average is %v, want %v", got, want)
		}
	}
	follow := func(o *Options) { o.Policy = following }
	bubble(t, "to the head of the answer", func(t *testing.T) {
		want(t, send(t, piped(t, lateAfter(80*time.Millisecond, ok), follow), nil), 80*time.Millisecond)
	})
	bubble(t, "without the time of a slow client", func(t *testing.T) {
		c := piped(t, lateAfter(80*time.Millisecond, ok), follow)
		want(t, send(t, c, &slowly{25 * time.Second, []string{"one", "two"}}), 80*time.Millisecond)
	})
	bubble(t, "an answer before the client has sent all tells nothing", func(t *testing.T) {
		c := piped(t, func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, early)
			_, _ = io.Copy(io.Discard, conn)
		}, follow)
		want(t, send(t, c, &slowly{time.Minute, []string{"one", "two"}}), 0)
		after(3 * time.Minute) // the client sends on
	})
	bubble(t, "a fast error is a failure", func(t *testing.T) {
		c := piped(t, lateAfter(time.Millisecond, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), follow)
		want(t, send(t, c, nil), time.Second)
	})
	bubble(t, "a connection that is closed is one", func(t *testing.T) {
		want(t, send(t, piped(t, func(net.Conn) {}, follow), nil), time.Second)
	})
	bubble(t, "a connection that is refused is one", func(t *testing.T) {
		c := piped(t, nil, func(o *Options) {
			o.Policy = following
			o.dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "pipe", Err: errors.New("connection refused")}
			}
		})
		want(t, send(t, c, nil), time.Second)
	})
	bubble(t, "nobody asks", func(t *testing.T) {
		want(t, send(t, piped(t, lateAfter(80*time.Millisecond, ok), nil), nil), 0)
	})
}

// A client that gives up says nothing about the endpoint.
func TestLatencyOfAClientThatLeft(t *testing.T) {
	bubble(t, "before the head", func(t *testing.T) {
		c := piped(t, hang(""), func(o *Options) { o.Policy = following })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r, x := requestContext(ctx, t, http.MethodGet, nil)
		if resp, err := c.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
			t.Error("there is an answer")
		}
		if average := x.Endpoint.Stats.Latency.At(time.Now()); average != 0 {
			t.Errorf("the average is %v s", average)
		}
	})
}
