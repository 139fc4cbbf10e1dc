package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// closeCounter is a client's body that knows how often it was closed.
type closeCounter struct {
	io.Reader
	closed atomic.Int32
	first  chan struct{} // closed with the body
}

func countCloses(text string) *closeCounter {
	return &closeCounter{Reader: strings.NewReader(text), first: make(chan struct{})}
}

func (b *closeCounter) Close() error {
	if b.closed.Add(1) == 1 {
		close(b.first)
	}
	return nil
}

// refusing dials, but for the addresses that nobody listens on.
func refusing(addrs ...string) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if slices.Contains(addrs, addr) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

func TestFault4FailsOverWhenNothingWasSent(t *testing.T) {
	t.Attr("wants", "what was not sent goes elsewhere, whatever the method")
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	for _, protocol := range []string{"http", "h2c"} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(protocol+" "+method, func(t *testing.T) {
				alive := serve(t, echo, func(s *http.Server) {
					s.Protocols = new(http.Protocols)
					s.Protocols.SetHTTP1(true)
					s.Protocols.SetUnencryptedHTTP2(true)
				})
				c := start(t, at("127.0.0.1:1", alive, "127.0.0.1:2"), func(o *Options) {
					o.Protocol, o.dial = protocol, refusing("127.0.0.1:1", "127.0.0.1:2")
				})
				for range 50 {
					r, x := request(t, method, nil)
					want := ""
					var body *closeCounter
					if method == "POST" {
						want = "the whole body"
						body = countCloses(want)
						r.Body, r.ContentLength = body, int64(len(want))
					}
					resp, err := c.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					if got, err := read(t, resp); got != want || err != nil || x.Endpoint.Addr != alive {
						t.Fatalf("got %q, %v from %s", got, err, x.Endpoint.Addr)
					}
					if body != nil {
						<-body.first // an HTTP/2 transport closes it a little later
					}
				}
				for _, e := range c.Endpoints() {
					if failed := e.Failures > 0; failed != (e.Addr != alive) || e.Active != 0 || failed && e.Failures != e.Requests {
						t.Errorf("%+v", e)
					}
				}
			})
		}
	}
}

func TestFailoverEnds(t *testing.T) {
	dead := []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"}
	f := func(name string, addrs []string, attempts int) {
		t.Run(name, func(t *testing.T) {
			c := start(t, at(addrs...), func(o *Options) { o.dial = refusing(dead...) })
			r, x := request(t, "POST", nil)
			body := countCloses("body")
			r.Body, r.ContentLength = body, 4
			_, err := c.RoundTrip(r)
			wantError(t, err, http.StatusServiceUnavailable, "connect_failed", gateway.CauseNetwork)
			if x.Attempts != attempts || body.closed.Load() != 1 {
				t.Errorf("%d attempts, want %d; body closed %d times", x.Attempts, attempts, body.closed.Load())
			}
			for _, e := range c.Endpoints() {
				if e.Requests > 1 || e.Failures != e.Requests || e.Active != 0 {
					t.Errorf("asked twice or wrongly booked: %+v", e)
				}
			}
		})
	}
	f("with one endpoint", dead[:1], 1)
	f("with two", dead[:2], 2)
	f("after two more than the first", dead, 3)
}

// What has been sent must not be sent again: only the client knows whether it may.
func TestNoFailoverOnceSent(t *testing.T) {
	var asked atomic.Int32
	reset := func(c net.Conn) {
		asked.Add(1)
		_, _ = c.Read(make([]byte, 4<<10))
		_ = c.Close()
	}
	c := start(t, at(listen(t, reset), listen(t, reset)), nil)
	r, x := request(t, "POST", strings.NewReader("body"))
	_, err := c.RoundTrip(r)
	wantError(t, err, http.StatusBadGateway, "upstream_reset", gateway.CauseUpstream)
	if asked.Load() != 1 || x.Attempts != 1 {
		t.Errorf("asked %d endpoints in %d attempts", asked.Load(), x.Attempts)
	}
}

func TestNoFailoverForAClientThatLeft(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	c := start(t, at("127.0.0.1:1", "127.0.0.1:2"), func(o *Options) {
		o.dial = func(context.Context, string, string) (net.Conn, error) {
			leave()
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
	})
	r, x := requestContext(ctx, t, "GET", nil)
	_, err := c.RoundTrip(r)
	wantError(t, err, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
	if x.Attempts != 1 {
		t.Errorf("%d attempts", x.Attempts)
	}
	if e, ok := errors.AsType[*gateway.Error](err); !ok || e.Cause != gateway.CauseClient {
		t.Error(err)
	}
}

// Subsets are what the caller chose: a failover does not leave them.
func TestFailoverStaysInTheSubset(t *testing.T) {
	stable := serve(t, func(http.ResponseWriter, *http.Request) {}, nil)
	c := start(t, []gateway.Target{{Addr: stable, Tags: []string{"stable"}}, {Addr: "127.0.0.1:1", Tags: []string{"canary"}}}, func(o *Options) {
		o.dial = refusing("127.0.0.1:1")
		o.Subsets = map[string]Selector{"canary": {Tag: "canary"}}
	})
	r, x := request(t, "GET", nil)
	x.Subset = "canary"
	_, err := c.RoundTrip(r)
	wantError(t, err, http.StatusServiceUnavailable, "connect_failed", gateway.CauseNetwork)
}
