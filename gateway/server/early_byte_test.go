package server

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
)

// The first byte of a request is read while the answer before it is being
// finished: net/http watches the connection for the client's leaving. That
// request must be answered, whatever ends at that moment.
func TestFirstByteReadEarly(t *testing.T) {
	var finish chan struct{}
	answer := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
		if r.Method == http.MethodGet {
			_ = http.NewResponseController(w).Flush()
			<-finish
		}
	}
	inBubble(t, usual("h1"), answer, func(l *line) {
		finish = make(chan struct{})
		c := l.open()
		go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
		answers := bufio.NewReader(c)
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "P"); err != nil { // a pipe: it has been read
			t.Fatal(err)
		}
		close(finish)
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		go l.f.settle(context.Background())
		synctest.Wait()
		go func() { _, _ = io.WriteString(c, "OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") }()
		res, err = http.ReadResponse(answers, nil)
		if err != nil {
			t.Error("the request was lost: ", err)
		} else {
			_ = res.Body.Close()
		}
		_ = c.Close()
	})
}
