package http1

import (
	"errors"
	"net"
	"net/http"
	"testing"
)

// TestWrittenBeforeAnError: who counts what a client got must not count what the
// connection did not take.
func TestWrittenBeforeAnError(t *testing.T) {
	f := func(name string, flush bool, all int, least int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var n int
			var err error
			c := &full{script: script{rest: []byte(hello)}, room: 20 << 10}
			(&Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100000")
				if flush {
					w.(http.Flusher).Flush()
				}
				n, err = w.Write(make([]byte, all))
				if _, again := w.Write(make([]byte, 1)); again == nil {
					again = http.NewResponseController(w).Flush()
					if !errors.Is(again, net.ErrClosed) {
						t.Errorf("then %v", again)
					}
				}
			})}).Serve(c)
			if !errors.Is(err, net.ErrClosed) || n < least || n > c.room {
				t.Errorf("%d bytes written, %v", n, err)
			}
		})
	}
	f("past the buffer", true, 99999, 19<<10)
	f("the buffer first", false, 99999, 19<<10)
}

// full is a connection that takes so many bytes and no more.
type full struct {
	script

	room int
}

func (c *full) Write(p []byte) (int, error) {
	left := c.room - c.got.Len()
	if len(p) <= left {
		return c.script.Write(p)
	}
	n, _ := c.script.Write(p[:left])
	return n, net.ErrClosed
}
