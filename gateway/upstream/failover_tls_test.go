package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// tracedPost is a request with a body as it comes from the proxy core.
func tracedPost(t *testing.T, body string) (*http.Request, *gateway.Exchange, *closeCounter) {
	t.Helper()
	r, x := requestContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{}), t, "POST", nil)
	counter := countCloses(body)
	r.Body, r.ContentLength = counter, int64(len(body))
	return r, x, counter
}

// An endpoint that cannot prove itself, or does not finish the handshake, has seen
// nothing of the request.
func TestFault44FailsOverWhenTheHandshakeFails(t *testing.T) {
	t.Attr("wants", "an endpoint that fails the handshake has seen nothing, so the request goes elsewhere")
	ca := newAuthority(t)
	secure := func(change func(*tls.Config)) string {
		conf := &tls.Config{Certificates: []tls.Certificate{ca.server(t, nil)}}
		if change != nil {
			change(conf)
		}
		return serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, func(s *http.Server) { s.TLSConfig = conf })
	}
	f := func(name, bad, reason string) {
		t.Run(name, func(t *testing.T) {
			good := secure(nil)
			options := func(o *Options) {
				o.Protocol, o.TLS = "https", &tls.Config{RootCAs: ca.pool, ServerName: "app.internal"}
				o.Timeouts.TLSHandshake = 100 * time.Millisecond
			}
			c := start(t, at(bad, good), options)
			for range 4 { // half of them find the bad one first
				r, x, body := tracedPost(t, "the whole body")
				resp, err := c.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := read(t, resp); got != "the whole body" || err != nil || x.Endpoint.Addr != good {
					t.Fatalf("got %q, %v from %s", got, err, x.Endpoint.Addr)
				}
				<-body.first
			}
			for _, e := range c.Endpoints() {
				if (e.Failures > 0) != (e.Addr == bad) || e.Active != 0 {
					t.Errorf("%+v", e)
				}
			}
			c = start(t, at(bad), options)
			r, x, body := tracedPost(t, "the whole body")
			_, err := c.RoundTrip(r)
			wantError(t, err, http.StatusBadGateway, reason, gateway.CauseNetwork)
			if x.Attempts != 1 || body.closed.Load() != 1 {
				t.Errorf("%d attempts, body closed %d times", x.Attempts, body.closed.Load())
			}
		})
	}
	f("expired", secure(func(conf *tls.Config) {
		conf.Certificates[0] = ca.server(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	}), "upstream_tls")
	f("a version that is too old", secure(func(conf *tls.Config) { conf.MaxVersion = tls.VersionTLS11 }), "upstream_tls")
	f("no TLS at all", serve(t, func(http.ResponseWriter, *http.Request) {}, nil), "upstream_tls")
	f("hangs up", listen(t, func(c net.Conn) { _ = c.Close() }), "upstream_tls")
	f("never finishes", listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "upstream_tls")
}

// What an endpoint says after the handshake may be its answer to the request.
func TestNoFailoverAfterTheHandshake(t *testing.T) {
	ca := newAuthority(t)
	var asked atomic.Int32
	conf := &tls.Config{Certificates: []tls.Certificate{ca.server(t, nil)}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert}
	one := func() string {
		return listen(t, func(raw net.Conn) {
			conn := tls.Server(raw, conf)
			_ = conn.HandshakeContext(context.Background()) // the client has none to show, and learns that after its own end of the handshake
			asked.Add(1)
			_, _ = io.Copy(io.Discard, raw) // so that the alert is not lost in a reset
		})
	}
	c := start(t, at(one(), one()), func(o *Options) {
		o.Protocol, o.TLS = "https", &tls.Config{RootCAs: ca.pool, ServerName: "app.internal"}
	})
	r, x, _ := tracedPost(t, "body")
	_, err := c.RoundTrip(r)
	wantError(t, err, http.StatusBadGateway, "upstream_tls", gateway.CauseNetwork)
	if asked.Load() != 1 || x.Attempts != 1 {
		t.Errorf("asked %d endpoints in %d attempts", asked.Load(), x.Attempts)
	}
}
