package upstream

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/pithead/pithead/gateway"
)

// noise is n bytes that nobody can mistake for others.
func noise(n int) []byte {
	p := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = src.Read(p)
	return p
}

// Every attempt sends the same body, up to the limit, and none is made again
// beyond it; there the first one still gets all of it.
func TestBodiesAreSentAgain(t *testing.T) {
	const limit = 64 << 10
	for _, protocol := range []string{"http", "h2c"} {
		for _, known := range []bool{true, false} {
			for _, size := range []int{1, 4096, limit - 1, limit, limit + 1, 1 << 20} {
				sendAgain(t, protocol, known, size, size <= limit)
			}
		}
	}
}

func sendAgain(t *testing.T, protocol string, known bool, size int, again bool) {
	t.Helper()
	body := noise(size)
	want := sha256.Sum256(body)
	var mu sync.Mutex
	var got [][32]byte
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, _ = io.Copy(h, r.Body)
		mu.Lock()
		defer mu.Unlock()
		if got = append(got, [32]byte(h.Sum(nil))); len(got) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, func(s *http.Server) {
		s.Protocols = new(http.Protocols)
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
	})
	c := start(t, at(addr), func(o *Options) { o.Protocol = protocol })
	r, x := request(t, "PUT", nil)
	counter := &closeCounter{Reader: bytes.NewReader(body), first: make(chan struct{})}
	if r.Body, r.ContentLength = counter, -1; known {
		r.ContentLength = int64(size)
	}
	x.Retry = policyOf(nil)
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = read(t, resp)
	status, attempts := 200, 3
	if !again {
		status, attempts = 503, 1
	}
	mu.Lock()
	defer mu.Unlock()
	if resp.StatusCode != status || len(got) != attempts || x.Attempts != attempts {
		t.Errorf("%s, %d bytes, length known %v: status %d, %d attempts, %d arrived", protocol, size, known, resp.StatusCode, x.Attempts, len(got))
	}
	for i, sum := range got {
		if sum != want {
			t.Errorf("%s, %d bytes, length known %v: attempt %d sent something else", protocol, size, known, i+1)
		}
	}
	<-counter.first
	if n := counter.closed.Load(); n != 1 {
		t.Errorf("%s, %d bytes: the client's body was closed %d times", protocol, size, n)
	}
	if e := c.Endpoints()[0]; e.Active != 0 {
		t.Errorf("%d requests are active", e.Active)
	}
}

// replayOf is a replay of text that is read in pieces.
func replayOf(t *testing.T, text string, size, limit int64) *replay {
	t.Helper()
	r, _ := request(t, "PUT", nil)
	r.Body, r.ContentLength = io.NopCloser(iotest.OneByteReader(bytes.NewReader([]byte(text)))), size
	return newReplay(r, limit)
}

func mustBegin(t *testing.T, r *replay) *replayed {
	t.Helper()
	b, ok := r.begin()
	if !ok {
		t.Fatal("the body cannot be read again")
	}
	return b
}

func TestReplay(t *testing.T) {
	const text = "the whole body"
	t.Run("an attempt goes on where the one before it stopped", func(t *testing.T) {
		r := replayOf(t, text, -1, 100)
		for _, n := range []int{3, 0, 7} {
			b := mustBegin(t, r)
			if _, err := io.ReadFull(b, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			_ = b.Close()
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("read after close: %v", err)
			}
		}
		if got, err := io.ReadAll(mustBegin(t, r)); string(got) != text || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
	t.Run("an attempt that is over reads nothing", func(t *testing.T) {
		r := replayOf(t, text, -1, 100)
		old := mustBegin(t, r)
		_ = mustBegin(t, r)
		if _, err := old.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("an untouched body may be of any length", func(t *testing.T) {
		r := replayOf(t, text, int64(len(text)), 0)
		_ = mustBegin(t, r)
		b := mustBegin(t, r)
		if got, err := io.ReadAll(b); string(got) != text || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if r.ready() {
			t.Error("what was not kept can be read again")
		}
	})
	t.Run("a length that is reached is the end", func(t *testing.T) {
		r := replayOf(t, text, 3, 100)
		if _, err := io.ReadFull(mustBegin(t, r), make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(mustBegin(t, r)); string(got) != text[:3] || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
	t.Run("memory", func(t *testing.T) {
		r := replayOf(t, text, -1, 5)
		if _, err := io.ReadAll(mustBegin(t, r)); err != nil {
			t.Fatal(err)
		}
		if r.buf != nil || r.ready() {
			t.Errorf("%d bytes are kept of a body that is too long", len(r.buf))
		}
	})
}

// A transport closes a body to end a read that waits for the client. Then the
// client's body is closed, and not sent again.
func TestReplayOfABodyThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		r, _ := request(t, "PUT", in)
		p := newReplay(r, 100)
		b := mustBegin(t, p)
		go func() {
			if _, err := io.ReadAll(b); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("read: %v", err)
			}
		}()
		_, _ = io.WriteString(out, "x")
		synctest.Wait()
		if p.ready() {
			t.Error("a body that is being read can be sent again")
		}
		_ = b.Close()
		synctest.Wait()
		if p.ready() {
			t.Error("a body that is closed can be sent again")
		}
	})
}

// told is a reader that tells of its second read.
type told struct {
	io.ReadCloser
	reads  atomic.Int32
	second chan struct{}
}

func (b *told) Read(p []byte) (int, error) {
	if b.reads.Add(1) == 2 {
		close(b.second)
	}
	return b.ReadCloser.Read(p)
}

// An endpoint that answers before it has the whole request, while the rest is waited
// for, is taken by its word: the client may never send it.
func TestAnswerBeforeTheEndOfTheRequest(t *testing.T) {
	pipe, out := io.Pipe()
	defer out.Close()
	in := &told{ReadCloser: pipe, second: make(chan struct{})}
	addr := listen(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		if r, err := http.ReadRequest(br); err == nil {
			_, _ = io.ReadFull(r.Body, make([]byte, 5))
			<-in.second
		}
		_, _ = io.WriteString(conn, answer(503))
		_, _ = io.Copy(io.Discard, br)
	})
	c := start(t, at(addr), nil)
	r, x := request(t, "PUT", in)
	r.ContentLength = 10
	x.Retry = policyOf(nil)
	go func() { _, _ = io.WriteString(out, "first") }()
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 503 || x.Attempts != 1 || c.Retries()["not_replayable"] != 1 {
		t.Errorf("status %d after %d attempts, counted %q", resp.StatusCode, x.Attempts, counts(c))
	}
	_ = out.CloseWithError(io.ErrUnexpectedEOF) // the client leaves
	resp.Body.Close()
}

// What a client sends in the middle of its failing is not sent again.
func TestNoRetryForABrokenBody(t *testing.T) {
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, nil)
	c := start(t, at(addr), nil)
	r, x := request(t, "PUT", nil)
	x.Retry = policyOf(nil)
	r.ContentLength, r.Body = -1, io.NopCloser(&failingReader{err: errors.New("malformed chunk"), tell: x.ClientFailed})
	_, err := c.RoundTrip(r)
	wantError(t, err, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
	if x.Attempts != 1 || counts(c) != "" {
		t.Errorf("%d attempts, counted %q", x.Attempts, counts(c))
	}
}

// What all requests keep has one bound; who gets nothing of it sends the body once, and
// nothing is kept any longer than somebody may read it again.
func TestReplaySharesMemory(t *testing.T) {
	spare := new(gateway.Spare)
	spare.Bound(25)
	shared := func(size int64) *replay {
		r := replayOf(t, "0123456789", size, 100)
		r.spare = spare
		return r
	}
	known, unknown, late := shared(10), shared(-1), shared(10)
	for i, r := range []*replay{known, unknown, late} {
		if text, err := io.ReadAll(mustBegin(t, r)); string(text) != "0123456789" || err != nil {
			t.Errorf("%d: read %q, %v", i, text, err)
		}
	}
	if known.ready() != true || unknown.ready() != true || late.ready() != false || spare.Used() != 20 {
		t.Errorf("ready %v %v %v with %d of 25 bytes", known.ready(), unknown.ready(), late.ready(), spare.Used())
	}
	second := mustBegin(t, known)
	known.finish(false) // it is the last one, but it has yet to read
	if text, err := io.ReadAll(second); string(text) != "0123456789" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	if spare.Used() != 10 || known.buf != nil {
		t.Errorf("%d bytes are taken when nobody is to read the first again", spare.Used())
	}
	unknown.finish(true)
	late.finish(true)
	if spare.Used() != 0 {
		t.Errorf("%d bytes are taken after the end", spare.Used())
	}
}
