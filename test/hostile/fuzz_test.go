package hostile_test

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// last is a request that ends the connection, and whatever is left open before it.
const last = "\r\n\r\nGET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// Whatever bytes a client sends: the gateway does not panic; it answers with
// well-formed HTTP/1, or closes; each answer of the upstream belongs to one
// request that the upstream has taken for exactly one, and that the strict
// parser finds nothing ambiguous in; and nothing counts against the endpoint.
func FuzzRawRequest(f *testing.F) {
	for _, r := range payloads() {
		if len(r.in) < 4<<10 {
			f.Add([]byte(r.in))
		}
	}
	f.Add([]byte("POST / HTTP/1.1\r\nHost: .\r\nTransfer-Encoding: chunked\r\n\r\n10000000")) // once held its connection for ever
	e := newEdge(f, options{
		listener: "timeouts: {header: 100ms, body_idle: 100ms, idle: 100ms}",
	})
	f.Fuzz(func(t *testing.T, in []byte) {
		attempts, failures := e.attempts(), e.failures()
		c := e.dial(t)
		defer func() { _ = c.Close() }()
		go func() { _, _ = io.WriteString(c, string(in)+last) }()
		passed := readAnswers(t, bufio.NewReader(c), strings.Contains(string(in), "HEAD"))
		whole := 0
		for e.upstream.next() != nil {
			whole++
		}
		if tried := e.attempts() - attempts; passed > whole || uint64(whole) > tried {
			t.Errorf("%d answers of the upstream, which has got %d requests in %d attempts", passed, whole, tried)
		}
		e.upstream.checkStrict(t)
		if e.failures() != failures {
			t.Error("the endpoint is blamed")
		}
		if e.process.panicked.Load() {
			t.Fatalf("panic:\n%s", e.process.String())
		}
	})
}

// readAnswers reads to the end of the connection and counts the answers that
// are the upstream's. After a HEAD nobody knows where an answer ends.
func readAnswers(t *testing.T, br *bufio.Reader, blind bool) (passed int) {
	t.Helper()
	if blind {
		if _, err := io.Copy(io.Discard, br); isTimeout(err) {
			t.Error("the connection stays open")
		}
		return 0
	}
	for {
		if _, err := br.Peek(1); err != nil {
			if isTimeout(err) {
				t.Error("the connection stays open")
			}
			return passed
		}
		got, err := readAnswer(br, "GET")
		if err != nil {
			if !isReset(err) {
				t.Errorf("no well-formed answer: %v", err)
			}
			return passed
		}
		if got.status == 200 && got.body == "ok" {
			passed++
		}
	}
}
