package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// A request that is answered before its body has come does not hold its
// connection, nor its answer, for as long as the client likes.
func TestS09UnfinishedBody(t *testing.T) {
	refuse := func(closes bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			gateway.Fail(w, r, &gateway.Error{Status: 404, Reason: "no_route", Close: closes})
		}
	}
	f := func(name, head string, h http.HandlerFunc) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, usual("h1"), h, func(l *line) {
				c := l.open()
				go func() { _, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+head+"\r\n\r\n8\r\nabc") }()
				took, text := closedAfter(c)
				if !strings.HasPrefix(text, "HTTP/1.1 404 ") || took > 2*time.Second {
					t.Errorf("after %s: %q", took, text)
				}
			})
		})
	}
	for _, closes := range []bool{true, false} {
		f(fmt.Sprintf("length, close %t", closes), "Content-Length: 1000", refuse(closes))
		f(fmt.Sprintf("chunks, close %t", closes), "Transfer-Encoding: chunked", refuse(closes))
	}
}

func TestS09LateBody(t *testing.T) {
	inBubble(t, usual("h1"), say("hello"), func(l *line) {
		c := l.open()
		for range 2 {
			go func() {
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
				drip(c, "abc", 100*time.Millisecond)
			}()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
			pass(30 * time.Second) // longer than the unread body may take
		}
		_ = c.Close()
	})
}
