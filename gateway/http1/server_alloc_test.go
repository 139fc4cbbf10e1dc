package http1

import (
	"io"
	"net/http"
	"testing"
)

// endless is a client that says the same over and over, as often as it is allowed to.
type endless struct {
	script
	words string
	next  chan bool // another time
	done  chan bool // it is answered
}

func (c *endless) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		c.done <- true
		if !<-c.next {
			return 0, io.EOF
		}
		c.rest = append(c.rest, c.words...)
	}
	n := copy(p, c.rest)
	c.rest = c.rest[:copy(c.rest, c.rest[n:])]
	return n, nil
}

func (*endless) Write(p []byte) (int, error) { return len(p), nil }

// TestServerAllocs has a budget for each sort of request, with a handler that adds
// nothing of its own but a field.
func TestServerAllocs(t *testing.T) {
	typ, buf := []string{"text/plain"}, make([]byte, 512)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := r.Body.Read(buf); err != nil {
				break
			}
		}
		w.Header()["Content-Type"] = typ
		_, _ = w.Write(buf)
	})
	f := func(name, words string, budget float64) {
		t.Run(name, func(t *testing.T) {
			c := &endless{words: words, next: make(chan bool), done: make(chan bool)}
			gone := make(chan bool)
			go func() {
				(&Server{Handler: h}).Serve(c)
				close(gone)
			}()
			<-c.done
			if got := testing.AllocsPerRun(200, func() {
				c.next <- true
				<-c.done
			}); got > budget && !raceEnabled {
				t.Errorf("%v allocations, want at most %v", got, budget)
			}
			c.next <- false
			<-gone
		})
	}
	// The text of the head, its table (2) with the values, the URL, the request and the
	// one with its context, the context (2), the response, the table of its fields (2),
	// and the line of its length.
	f("GET", "GET /path?query HTTP/1.1\r\nHost: a.example\r\nUser-Agent: b\r\nAccept: */*\r\n\r\n", 13)
	// A larger table.
	f("many fields", "GET / HTTP/1.1\r\nHost: a.example\r\nA: b\r\nC: d\r\nE: f\r\nG: h\r\nI: j\r\nK: l\r\nM: n\r\nO: p\r\nQ: r\r\n\r\n", 15)
	// The body.
	f("POST", byLengthOf+"5\r\n\r\nhello", 14)
	// The list of its codings.
	f("chunks", chunkedTo+inChunks("hello", 5), 15)
}
