package http1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// crowd is many callers of one transport, and a server that does all that servers do.
type crowd struct {
	tr     *Transport
	url    string
	conns  atomic.Int64
	opened atomic.Int64 // connections, and bodies of requests
	closed atomic.Int64
	whole  atomic.Int64 // answers that were read to the end
	number atomic.Int64
}

// ways are how the server answers. The last ones break the connection off.
var ways = []string{"length", "chunks", "close", "none", "early", "slow", "reset", "half"}

// kept are the ways that end well, unless the caller loses patience.
const kept = 6

// ServeHTTP implements http.Handler. Each answer says the number of its request over
// and over, so that any part of it can be told from that of another.
func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	way, number, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if way == "early" {
		_ = http.NewResponseController(w).EnableFullDuplex() // or it would read all of the body first
	} else {
		if sent, err := io.ReadAll(r.Body); err != nil || strings.ReplaceAll(string(sent), number+"\n", "") != "" {
			panic(http.ErrAbortHandler) // the caller has gone, or it is not its body: no answer
		}
	}
	line := number + "\n"
	text := strings.Repeat(line, 1+rand.N(4000))
	w.Header().Set("X-Number", number)
	w.Header().Set("X-Size", strconv.Itoa(len(text)))
	switch way {
	case "none":
		w.Header().Set("X-Size", "0")
		w.WriteHeader(http.StatusNoContent)
		return
	case "reset":
		panic(http.ErrAbortHandler)
	case "close":
		w.Header().Set("Connection", "close")
	case "early":
		defer io.Copy(io.Discard, r.Body)
		fallthrough
	case "length":
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	}
	for len(text) > 0 {
		n := min(len(text), 1+rand.N(20000))
		_, _ = io.WriteString(w, text[:n])
		text = text[n:]
		switch way {
		case "chunks":
			_ = http.NewResponseController(w).Flush()
		case "slow":
			_ = http.NewResponseController(w).Flush()
			<-time.After(rand.N(2 * time.Millisecond))
		case "half":
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
}

// counted is a body whose end is counted.
type counted struct {
	io.Reader
	closed func()
}

// Read implements io.Reader. Some come slowly, after the answer.
func (c *counted) Read(p []byte) (int, error) {
	if rand.N(8) == 0 {
		<-time.After(rand.N(3 * time.Millisecond))
	}
	return c.Reader.Read(p[:min(len(p), 4<<10)])
}

func (c *counted) Close() error {
	c.closed()
	return nil
}

// countedConn is a real socket whose end is counted.
type countedConn struct {
	*net.TCPConn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.TCPConn.Close()
}

func (c *crowd) once() func() {
	c.opened.Add(1)
	return sync.OnceFunc(func() { c.closed.Add(1) })
}

func (c *crowd) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.conns.Add(1)
	return &countedConn{raw.(*net.TCPConn), c.once()}, nil
}

// call makes one request, as one of many sorts of callers would.
func (c *crowd) call(ctx context.Context) error {
	way := rand.N(len(ways))
	number := strconv.FormatInt(c.number.Add(1), 10)
	patience := time.Minute
	if rand.N(4) == 0 {
		patience = rand.N(4 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+ways[way]+"/"+number, http.NoBody)
	if err != nil {
		return err
	}
	if rand.N(2) == 0 {
		text := strings.Repeat(number+"\n", 1+rand.N(8000))
		req.Body, req.ContentLength = &counted{Reader: strings.NewReader(text), closed: c.once()}, int64(len(text))
		if rand.N(2) == 0 {
			req.ContentLength = lengthUnknown
		}
	}
	most := -1
	if rand.N(4) == 0 {
		most = rand.N(1000)
	}
	err = c.read(req, number, most)
	if err != nil && ctx.Err() == nil && way < kept || errors.Is(err, errForeign) {
		return fmt.Errorf("%s %s: %w", ways[way], number, err)
	}
	return nil
}

var errForeign = errors.New("the answer to another request")

// read reads an answer, or its first bytes.
func (c *crowd) read(req *http.Request, number string, most int) error {
	resp, err := c.tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("X-Number"); got != number {
		return fmt.Errorf("%w: %s", errForeign, got)
	}
	var in io.Reader = resp.Body
	if most >= 0 {
		in = io.LimitReader(in, int64(most))
	}
	body, err := io.ReadAll(in)
	line := []byte(number + "\n")
	if rest := bytes.ReplaceAll(body, line, nil); !bytes.HasPrefix(line, rest) {
		return fmt.Errorf("%w: %q", errForeign, rest[:min(len(rest), 100)])
	}
	if err != nil || most >= 0 {
		return err
	}
	if size := resp.Header.Get("X-Size"); size != strconv.Itoa(len(body)) {
		return fmt.Errorf("%w: %d bytes instead of %s", errForeign, len(body), size)
	}
	c.whole.Add(1)
	return nil
}

// TestManyAtOnce: whatever servers and callers do, nobody gets the answer to somebody
// else's request, and in the end nothing is left.
func TestManyAtOnce(t *testing.T) {
	before := goleak.IgnoreCurrent()
	const callers, calls, idle = 50, 100, 10
	c := new(crowd)
	server := httptest.NewServer(c)
	c.url = server.URL + "/"
	c.tr = &Transport{Dial: c.dial, MaxIdlePerHost: idle, IdleTimeout: time.Minute, ContinueTimeout: time.Second}
	var work sync.WaitGroup
	for range callers {
		work.Go(func() {
			for range calls {
				if err := c.call(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	c.tr.idle.mu.Lock() // some are still being opened, for callers who have left
	if n := len(c.tr.idle.conns[server.Listener.Addr().String()]); n > idle {
		t.Errorf("%d connections rest, want at most %d", n, idle)
	}
	c.tr.idle.mu.Unlock()
	c.tr.CloseIdleConnections()
	server.Close()
	goleak.VerifyNone(t, before)
	if c.opened.Load() != c.closed.Load() {
		t.Errorf("%d connections and bodies, %d closed", c.opened.Load(), c.closed.Load())
	}
	if c.whole.Load() < callers*calls/5 || c.conns.Load() > callers*calls*3/4 {
		t.Errorf("only %d answers were whole, on %d connections", c.whole.Load(), c.conns.Load())
	}
}
