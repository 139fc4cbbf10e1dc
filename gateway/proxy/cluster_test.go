package proxy_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/upstream"
)

// fixed is a source that knows one address.
type fixed string

func (f fixed) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	publish([]gateway.Target{{Addr: string(f)}})
	<-ctx.Done()
	return ctx.Err()
}

type first []*gateway.Endpoint

func (f first) Pick(*gateway.Exchange) *gateway.Endpoint { return f[0] }

// realCluster is what the gateway puts below the core.
func realCluster(t *testing.T, addr, protocol string) *upstream.Cluster {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	feed := upstream.NewFeed("orders", fixed(addr), log)
	c := upstream.New(upstream.Options{
		Name: "orders", Feed: feed, Protocol: protocol, Log: log,
		Policy: func(eps []*gateway.Endpoint) gateway.Picker { return first(eps) },
	})
	c.Start()
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), feed.Close()); err != nil {
			t.Error(err)
		}
	})
	<-c.Filled()
	return c
}

// Only what the upstream or the network did may count against an endpoint.
func TestN2WhoIsBlamedThroughTheRealCluster(t *testing.T) {
	chunked := crlf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")
	get := crlf("GET / HTTP/1.1", "Host: a")
	ok := crlf("HTTP/1.1 200 OK", "Content-Length: 2") + "ok"
	l := listen(t)
	l.Close()
	for name, tc := range map[string]struct {
		request, answer string // no answer: nobody listens
		status          int    // of the error; 0 without one
		reason          string
		cause           gateway.Cause
		failures        uint64
	}{
		"F30 malformed chunk":    {chunked + "0x1\r\nx\r\n0\r\n\r\n", ok, 400, "bad_body", gateway.CauseClient, 0},
		"F38 malformed chunk":    {chunked + "1\r\nxyz0\r\n\r\n", ok, 400, "bad_body", gateway.CauseClient, 0},
		"U02 upgrade":            {crlf("GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: a\x80b"), ok, 400, "bad_upgrade", gateway.CauseClient, 0},
		"answer":                 {get, ok, 0, "", 0, 0},
		"refused":                {get, "", 503, "connect_failed", gateway.CauseNetwork, 1},
		"X02 invalid head":       {get, "HTTP/1.1 2000 Odd\r\n\r\n", 502, "bad_response", gateway.CauseUpstream, 1},
		"X06 unasked 101":        {get, crlf("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"), 502, "bad_response", gateway.CauseUpstream, 1},
		"X09 truncated":          {get, crlf("HTTP/1.1 200 OK", "Content-Length: 9") + "ok", 502, "upstream_truncated", gateway.CauseUpstream, 1},
		"X10 cut in the head":    {get, "HTTP/1.1 200 OK\r\nA: b\r\n", 502, "upstream_reset", gateway.CauseUpstream, 1},
		"X12 5,000 header lines": {get, crlf("HTTP/1.1 200 OK", strings.Repeat("X: y\r\n", 5000)+"Content-Length: 0"), 502, "bad_response", gateway.CauseUpstream, 1},
		"X17 3,000 x 103":        {get, strings.Repeat(crlf("HTTP/1.1 103 Early Hints"), 3000) + ok, 502, "interim_flood", gateway.CauseUpstream, 1},
	} {
		t.Run(name, func(t *testing.T) {
			addr := l.Addr().String()
			if tc.answer != "" {
				addr = reply(t, tc.answer)
			}
			c := realCluster(t, addr, "http")
			d := open(t, c, nil)
			client := dial(t, d.addr)
			client.send(t, tc.request)
			_, _ = io.Copy(io.Discard, io.LimitReader(client.br, 1))
			if tc.status == 0 {
				if x := d.exchange(t); x.Err != nil || x.UpstreamEnd.IsZero() {
					t.Errorf("error %v, end %v", x.Err, x.UpstreamEnd)
				}
			} else {
				d.wantErr(t, tc.status, tc.reason, tc.cause)
			}
			if got := c.Endpoints()[0].Failures; got != tc.failures {
				t.Errorf("%d failures counted, want %d", got, tc.failures)
			}
		})
	}
}

func TestWebSocketThroughTheRealCluster(t *testing.T) {
	d := open(t, realCluster(t, echo(t), "http"), nil)
	c := dial(t, d.addr)
	c.send(t, crlf("GET /ws HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", key)+"early ")
	if res := c.head(t, "GET"); res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", res.StatusCode)
	}
	c.send(t, "late")
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c.br); err != nil || string(b) != "hello early late" {
		t.Errorf("got %q, %v", b, err)
	}
}

// The traps of early answers and trailers, with the cluster's own wrappers around
// both bodies.
func TestStreamsThroughTheRealCluster(t *testing.T) {
	for _, protocol := range []string{"http", "h2c"} {
		addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			_ = rc.EnableFullDuplex()
			_, _ = io.ReadFull(r.Body, make([]byte, 5))
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, "early")
			_ = rc.Flush()
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "3")
		}))
		c := realCluster(t, addr, protocol)
		for _, h2c := range []bool{false, true} {
			d := open(t, c, nil)
			r, w := io.Pipe()
			go func() { _, _ = io.WriteString(w, "hello") }()
			res := do(t, client(t, h2c), request(t, "POST", d.addr, "/", r))
			if b := body(t, res); b != "early" || res.Trailer.Get("Grpc-Status") != "3" {
				t.Errorf("%s, HTTP/2 %v: body %q, trailers %v", protocol, h2c, b, res.Trailer)
			}
			w.Close()
			if x := d.exchange(t); x.Err != nil {
				t.Errorf("%s, HTTP/2 %v: %v", protocol, h2c, x.Err)
			}
		}
		if got := c.Endpoints()[0].Failures; got != 0 {
			t.Errorf("%s: %d failures counted", protocol, got)
		}
	}
}
