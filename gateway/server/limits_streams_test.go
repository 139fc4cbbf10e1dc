package server

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestStreamsMayPause: the limit is for a client that takes nothing, not for a
// stream that has nothing to say.
func TestStreamsMayPause(t *testing.T) {
	stream := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			_, _ = io.WriteString(w, "data: x\n\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
			<-time.After(10 * time.Minute)
		}
		_, _ = io.WriteString(w, "data: end\n\n")
	}
	check := func(t *testing.T, resp *http.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || !strings.HasSuffix(string(body), "end\n\n") {
			t.Errorf("%q %v", body, err)
		}
	}
	t.Run("HTTP/1", func(t *testing.T) {
		inBubble(t, usual("h1"), stream, func(l *line) {
			c := l.open()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			check(t, resp, err)
			_ = c.Close()
		})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		inBubble(t, usual("h2c"), stream, func(l *line) {
			c := l.h2c()
			resp, err := c.Get("http://a/")
			check(t, resp, err)
			c.CloseIdleConnections()
		})
	})
}

func TestGRPCMayBeSlow(t *testing.T) {
	inBubble(t, usual("h2c"), read408, func(l *line) {
		c := l.h2c()
		body, feed := io.Pipe()
		go func() {
			<-time.After(time.Hour)
			_ = feed.Close()
		}()
		req, _ := http.NewRequest(http.MethodPost, "http://a/", body)
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := c.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		text, _ := io.ReadAll(resp.Body)
		if string(text) != "hello" {
			t.Errorf("%q", text)
		}
		c.CloseIdleConnections()
	})
}
