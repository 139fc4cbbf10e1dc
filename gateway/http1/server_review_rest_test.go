package http1

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestRestingHoldsNoBuffer: a connection for whose next word the server may wait long.
// A plain one that rests is given up by its owner, who watches many.
func TestRestingHoldsNoBuffer(t *testing.T) {
	f := func(name string, state *tls.ConnectionState, fresh bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				c := &client{s: &Server{}, net: near, tls: state}
				c.in.src = near
				c.in.push('x') // of a body that nobody has read to its end
				c.in.r = c.in.w
				came := make(chan bool)
				go func() { came <- c.await(fresh) }()
				synctest.Wait()
				if c.in.pool != nil {
					t.Error("it has a buffer")
				}
				go func() { _, _ = io.WriteString(far, hello) }()
				if !<-came {
					t.Fatal("nothing came")
				}
				if h, err := c.in.readRequestHead(maxHead); err != nil || h.RequestURI != "/" {
					t.Errorf("got %q, %v", h.RequestURI, err)
				}
				_, _ = near.Close(), far.Close()
			})
		})
	}
	f("TLS", new(tls.ConnectionState), false)
	f("new", nil, true)
	f("new, TLS", new(tls.ConnectionState), true)
}

// TestWaitingHoldsNoBuffer: a handler that works for long, or that sends an event from
// time to time.
func TestWaitingHoldsNoBuffer(t *testing.T) {
	f := func(name, words string, length string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := pipe(t, &Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					w := rw.(*response)
					if w.c.in.pool != nil {
						t.Error("a buffer for reading")
					}
					if length != "" {
						w.Header().Set("Content-Length", length)
					}
					for range 3 {
						_, _ = io.WriteString(w, "event")
						w.Flush()
						if w.out.pool != nil {
							t.Error("a buffer for writing")
						}
						<-time.After(time.Second)
					}
				})})
				say(t, c, words)
				if got := listenTo(t, bufio.NewReader(c), http.MethodGet); got.Text != "eventeventevent" {
					t.Errorf("got %q", got.Text)
				}
			})
		})
	}
	f("no body", hello, "")
	f("a length", hello, "15")
	f("until the end", "GET / HTTP/1.0\r\n\r\n", "")
	f("a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "")
	f("a body in chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "")
}
