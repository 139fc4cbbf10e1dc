package http1

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/pithead/pithead/gateway/splice"
)

// drain is a connection that takes pipes, and counts what they held.
type drain struct {
	*net.TCPConn
	drained int
}

func (d *drain) ReadFrom(src io.Reader) (int64, error) {
	raw, err := d.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, err := src.(*splice.Pipe).Drain(raw)
	d.drained += n
	return int64(n), err
}

// socketPair is a connection over loopback.
func socketPair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// fillPipe has a pipe hold some bytes.
func fillPipe(t *testing.T, b []byte) *splice.Pipe {
	t.Helper()
	near, far := socketPair(t)
	if _, err := far.Write(b); err != nil {
		t.Fatal(err)
	}
	_ = far.CloseWrite()
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p := splice.Get()
	if p == nil {
		t.Fatal("no pipe")
	}
	if n, err := p.Fill(raw, int64(len(b))); n != len(b) || err != nil {
		t.Fatalf("the pipe holds %d bytes: %v", n, err)
	}
	return p
}

// TestPipes: what a pipe holds goes on to the socket as it is, where the length is
// known, and through the buffer where it is not; the order stays.
func TestPipes(t *testing.T) {
	f := func(name, words, method string, handler func(w http.ResponseWriter, p *splice.Pipe), want string, drained int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			near, far := socketPair(t)
			d := &drain{TCPConn: near}
			say(t, far, words+farther)
			_ = far.CloseWrite()
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/farther" {
					return
				}
				p := fillPipe(t, bytes.Repeat([]byte("p"), 1000))
				defer p.Free()
				handler(w, p)
			})}
			s.Serve(d)
			in := bufio.NewReader(far)
			if got := listenTo(t, in, method); got.Text != want {
				t.Errorf("%d bytes, want %d", len(got.Text), len(want))
			}
			listenTo(t, in, "GET")
			if d.drained != drained {
				t.Errorf("%d bytes have not been copied, want %d", d.drained, drained)
			}
		})
	}
	piped := string(bytes.Repeat([]byte("p"), 1000))
	from := func(length int) func(http.ResponseWriter, *splice.Pipe) {
		return func(w http.ResponseWriter, p *splice.Pipe) {
			if length >= 0 {
				w.Header().Set("Content-Length", strconv.Itoa(length))
			}
			_, _ = io.WriteString(w, "<")
			if n, err := w.(io.ReaderFrom).ReadFrom(p); n != 1000 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			_, _ = io.WriteString(w, ">")
		}
	}
	f("a length", hello, "GET", from(1002), "<"+piped+">", 1000)
	f("no length", hello, "GET", from(-1), "<"+piped+">", 0)
	f("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD", from(1002), "", 0)
	f("no head yet", hello, "GET", func(w http.ResponseWriter, p *splice.Pipe) {
		w.Header().Set("Content-Length", "1000")
		if n, err := w.(io.ReaderFrom).ReadFrom(p); n != 1000 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}, piped, 0)
}
