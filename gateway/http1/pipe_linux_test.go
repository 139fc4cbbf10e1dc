package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/pithead/pithead/gateway/splice"
)

// readPiped reads a body as far as it goes by Read, and then through a pipe.
// after runs when something has come through it.
func readPiped(t *testing.T, body io.Reader, after func()) (all []byte, piped int, err error) {
	t.Helper()
	src := body.(splice.Source)
	buf := make([]byte, readSize)
	for src.Piped() == 0 && err == nil {
		var n int
		n, err = body.Read(buf)
		all = append(all, buf[:n]...)
	}
	p := splice.Get()
	if p == nil {
		t.Fatal("no pipe")
	}
	defer p.Free()
	for err == nil {
		var n int
		n, err = src.ReadPipe(p)
		piped += n
		b, _ := io.ReadAll(p)
		all = append(all, b...)
		after()
	}
	if _, again := src.ReadPipe(p); !errors.Is(again, err) {
		t.Errorf("then it says %v, after %v", again, err)
	}
	return all, piped, err
}

func TestReadPipe(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(large))
	cause := errors.New("the client has left")
	f := func(name string, sent int, want error, conns int64, cancels bool) {
		t.Run(name, func(t *testing.T) {
			var opened atomic.Int64
			ctx, cancel := context.WithCancelCause(t.Context())
			tr, req := listen(t, func(c net.Conn) {
				opened.Add(1)
				for in := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					if r.Header.Get("Small") != "" {
						_, _ = io.WriteString(c, ok)
						continue
					}
					_, _ = io.WriteString(c, head)
					_, _ = c.Write(large[:sent])
					if cancels {
						_, _ = io.Copy(io.Discard, c)
					}
					if sent < len(large) {
						return
					}
				}
			})
			resp, err := tr.RoundTrip(req().WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			all, piped, err := readPiped(t, resp.Body, func() {
				if cancels {
					cancel(cause)
				}
			})
			cancel(nil)
			if !bytes.Equal(all, large[:len(all)]) || !errors.Is(err, want) {
				t.Errorf("%d bytes and %v, want %v", len(all), err, want)
			}
			if errors.Is(want, io.EOF) && (len(all) != len(large) || piped < splice.Worth) {
				t.Errorf("%d bytes, %d of them through the pipe", len(all), piped)
			}
			resp.Body.Close()
			small := req()
			small.Header.Set("Small", "1")
			if _, text, err := ask(t, tr, small); text != "ok" || err != nil || opened.Load() != conns {
				t.Errorf("the next one: %q %v over connection %d, want %d", text, err, opened.Load(), conns)
			}
		})
	}
	f("whole", len(large), io.EOF, 1, false)
	f("cut", len(large)-1, io.ErrUnexpectedEOF, 2, false)
	f("cancelled", len(large)-1, cause, 2, true)
}

func TestPipedNot(t *testing.T) {
	many := splice.Worth + readSize
	f := func(name, head string, length int) {
		t.Run(name, func(t *testing.T) {
			tr, req := listen(t, func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head+"\r\n\r\n")
					_, _ = c.Write(make([]byte, length))
				}
			})
			resp, err := tr.RoundTrip(req())
			if err != nil {
				t.Fatal(err)
			}
			src := resp.Body.(splice.Source)
			for buf := make([]byte, 1<<10); err == nil; _, err = resp.Body.Read(buf) {
				if n := src.Piped(); n != 0 {
					t.Fatalf("%d bytes are to be piped", n)
				}
			}
			resp.Body.Close()
			if _, err := src.ReadPipe(nil); !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
	f("few", fmt.Sprintf("Content-Length: %d", splice.Worth-1), splice.Worth-1)
	f("no length", "Connection: close", many)
	f("chunks", fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x", many), many)
}
