package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is the connection of a client whose every word is known. It says them in
// pieces of a size, and then that it says no more.
type script struct {
	net.Conn // nil: nothing else is called
	piece    int

	mu     sync.Mutex
	rest   []byte
	got    bytes.Buffer
	writes int
	ends   int // how often the end was read
	shut   bool
}

func (c *script) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return 0, net.ErrClosed
	}
	if len(c.rest) == 0 {
		if c.ends++; c.ends > 100 {
			panic("the end is read again and again")
		}
		return 0, io.EOF
	}
	if c.piece > 0 {
		p = p[:min(len(p), c.piece)]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *script) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return 0, net.ErrClosed
	}
	c.writes++
	return c.got.Write(p)
}

func (c *script) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	return nil
}

func (*script) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234}
}
func (*script) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// play has a server answer what a client says in pieces of a size; 0 is all at once.
func play(t testing.TB, s *Server, say string, piece int) *script {
	t.Helper()
	c := &script{rest: []byte(say), piece: piece}
	s.Serve(c)
	if !c.shut {
		t.Error("the connection was left open")
	}
	return c
}

// reply is an answer as a client reads it.
type reply struct {
	*http.Response
	Text string
}

// replies reads all answers to requests of these methods; the last one goes for
// those that follow, too.
func replies(t testing.TB, got []byte, methods ...string) (all []reply) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(got))
	for i := 0; ; i++ {
		if _, err := in.Peek(1); err != nil {
			return all
		}
		method := http.MethodGet
		if len(methods) > 0 {
			method = methods[min(i, len(methods)-1)]
		}
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%v: %q", err, got)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%v: %q", err, got)
		}
		all = append(all, reply{resp, string(body)})
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			i-- // the answer is still to come
		}
	}
}

// echo answers with what it understood of a request.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s %d %v close=%t\n", r.Method, r.RequestURI, r.Host, r.Proto, r.ContentLength, r.TransferEncoding, r.Close)
	writeSorted(&b, r.Header)
	fmt.Fprintf(&b, "%q %v\n", body, err)
	writeSorted(&b, r.Trailer)
	_, _ = io.WriteString(w, b.String())
}

func writeSorted(b *strings.Builder, h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(b, "%s=%q\n", name, h[name])
	}
}

// text answers with a few words.
func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
}

// tcp serves one connection of a real socket, and gives the client's end. gone is
// closed when the server is done with it.
func tcp(t *testing.T, s *Server) (c *net.TCPConn, gone <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if nc, err := l.Accept(); err == nil {
			s.Serve(nc)
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = raw.Close()
		<-done
	})
	return raw.(*net.TCPConn), done
}

// pipe is tcp in memory, for bubbles of synctest.
func pipe(t *testing.T, s *Server) (c net.Conn, gone <-chan struct{}) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(server)
	}()
	t.Cleanup(func() {
		_ = client.Close()
		<-done
	})
	return client, done
}

// say writes, and fails the test if that does not go.
func say(t testing.TB, c net.Conn, words string) {
	t.Helper()
	if _, err := io.WriteString(c, words); err != nil {
		t.Fatal(err)
	}
}

// listenTo reads one answer to its end.
func listenTo(t testing.TB, in *bufio.Reader, method string) reply {
	t.Helper()
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp, string(body)}
}
