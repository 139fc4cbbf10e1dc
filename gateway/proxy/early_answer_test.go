package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// The end of a chunked answer does not wait for the client, which may be waiting
// for it. What the client still sends afterwards is the server's to bear with.
func TestEarlyAnswerIsWholeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		front := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := newRelay(w, gateway.WithExchange(r, &gateway.Exchange{}))
			defer s.finish()
			go func() { _, _ = io.Copy(io.Discard, s.body) }() // as a transport does, which waits for the client
			synctest.Wait()
			_, _ = io.WriteString(&s.w, "early")
			s.flush()
		})}
		ln := &oneConn{conn: make(chan net.Conn, 1)}
		ln.conn <- server
		go func() { _ = front.Serve(ln) }()
		start := time.Now()
		go func() {
			_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		}()
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "early" || time.Since(start) != 0 {
			t.Errorf("%q, %v after %v", b, err, time.Since(start))
		}
		_ = client.Close()
		_ = front.Close()
	})
}

// oneConn is a listener with connections of the test's own.
type oneConn struct{ conn chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { close(l.conn); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
