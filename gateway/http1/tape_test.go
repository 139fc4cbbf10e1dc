package http1

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
)

// tape is a connection to a server whose every word is known. It answers when it
// has got something, in pieces of a size, and then closes.
type tape struct {
	net.Conn // nil: deadlines and addresses are of no use here
	piece    int
	gate     chan struct{}
	open     func()

	mu   sync.Mutex
	rest []byte
	sent bytes.Buffer
	ends int // how often the end was read
	shut bool
}

func newTape(answer []byte, piece int) *tape {
	c := &tape{rest: answer, piece: piece, gate: make(chan struct{})}
	c.open = sync.OnceFunc(func() { close(c.gate) })
	return c
}

func (c *tape) Read(p []byte) (int, error) {
	<-c.gate
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

func (c *tape) Write(p []byte) (int, error) {
	c.open()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent.Write(p)
}

func (c *tape) Close() error {
	c.open()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	return nil
}

func (c *tape) dial(context.Context, string, string) (net.Conn, error) { return c, nil }

func (c *tape) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shut
}

// got is what a caller sees of an answer.
type got struct {
	Status  string
	Code    int
	Proto   string
	Header  http.Header
	Length  int64
	Close   bool
	Coding  []string
	Trailer http.Header
	Body    []byte
}

// hear sends a request, and reads the whole answer.
func hear(rt http.RoundTripper, method string) (*got, error) {
	req, err := http.NewRequest(method, "http://server/", http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"chat"}}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	g := &got{
		Status: resp.Status, Code: resp.StatusCode, Proto: resp.Proto, Header: resp.Header,
		Length: resp.ContentLength, Close: resp.Close, Coding: resp.TransferEncoding,
	}
	g.Body, err = io.ReadAll(resp.Body)
	g.Trailer = resp.Trailer
	return g, err
}

// readChunks reads with a buffer of the given size.
func readChunks(tr *Transport, size int) (*got, error) {
	req, err := http.NewRequest(http.MethodGet, "http://server/", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, p := []byte(nil), make([]byte, size)
	for {
		n, err := resp.Body.Read(p)
		body = append(body, p[:n]...)
		switch {
		case err == io.EOF:
			return &got{Body: body, Trailer: resp.Trailer}, nil
		case err != nil:
			return nil, err
		}
	}
}
