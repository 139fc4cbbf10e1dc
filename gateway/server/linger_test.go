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

// A client that looks at its answer only when everything is sent is not reset
// meanwhile.
func TestS09ClientGoesOnAfterItsAnswer(t *testing.T) {
	early := func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "early")
		_ = control.SetReadDeadline(time.Now()) // as the proxy core does
	}
	for _, head := range []string{"Content-Length: 9000000", "Transfer-Encoding: chunked"} {
		t.Run(head, func(t *testing.T) {
			y := openYardOf(t, early, usual("h1"))
			defer y.close(0)
			c := y.dial()
			send := func(text string) {
				if _, err := io.WriteString(c, text); err != nil {
					t.Fatal(err)
				}
			}
			send("POST / HTTP/1.1\r\nHost: a\r\n" + head + "\r\n\r\n8\r\nabc")
			in := bufio.NewReader(c)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != "early" {
				t.Fatalf("%q, %v", b, err)
			}
			for range 2 { // before and after the gateway has closed its side
				for range 20 {
					send("some bytes")
				}
				if _, err := in.ReadByte(); err != io.EOF {
					t.Errorf("end of the connection: %v", err)
				}
			}
		})
	}
}
