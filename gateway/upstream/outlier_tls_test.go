package upstream

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// An endpoint that takes connections but no handshake is as good as none, and is
// back when it has proved itself, not when its port is open.
func TestEndpointWithoutHandshakesIsEjected(t *testing.T) {
	bubble(t, "frozen", func(t *testing.T) {
		ca := newAuthority(t)
		conf := &tls.Config{Certificates: []tls.Certificate{ca.server(t, nil)}, NextProtos: []string{"http/1.1"}}
		var frozen atomic.Bool
		frozen.Store(true)
		c := start(t, at("10.0.0.1:443", "10.0.0.2:443"), func(o *Options) {
			asConfigured(o)
			o.Protocol, o.TLS = "https", &tls.Config{RootCAs: ca.pool, ServerName: "app.internal"}
			o.dial = func(_ context.Context, _, addr string) (net.Conn, error) {
				client, server := net.Pipe()
				go func() {
					defer server.Close()
					if addr == "10.0.0.1:443" && frozen.Load() {
						_, _ = io.Copy(io.Discard, server)
						return
					}
					respond(ok)(tls.Server(server, conf))
				}()
				return client, nil
			}
		})
		for range 10 { // half of them find the frozen one first
			r, _ := requestContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{}), t, "GET", http.NoBody)
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := read(t, resp); err != nil {
				t.Fatal(err)
			}
		}
		ejected := func() *gateway.Ejection { return c.Endpoints()[0].Ejected }
		if e := ejected(); e == nil || e.Reason != "consecutive_connect_failures" {
			t.Fatalf("ejected: %+v", e)
		}
		after(time.Minute)
		if ejected() == nil {
			t.Error("it is used again because its port is open")
		}
		frozen.Store(false)
		after(2*probeLast + c.opts.Timeouts.TLSHandshake)
		if e := ejected(); e != nil {
			t.Errorf("not used again: %+v", e)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
