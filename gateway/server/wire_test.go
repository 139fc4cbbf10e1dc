package server

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestH08HeadTooLarge(t *testing.T) {
	inBubble(t, usual("h1"), say("hello"), func(l *line) {
		c := l.open()
		go func() {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("a", 21<<10)+"\r\n\r\n")
		}()
		head := make([]byte, 12)
		if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 431" {
			t.Errorf("%q %v", head, err)
		}
		_ = c.Close()
	})
}

func TestT16OptionsStarReachesTheHandler(t *testing.T) {
	inBubble(t, usual("h1"), func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "policy", http.StatusTeapot)
	}, func(l *line) {
		c := l.open()
		_, _ = io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusTeapot {
			t.Errorf("%v %v", resp, err)
		}
		_ = c.Close()
	})
}

func TestT05PrefaceWithoutH2C(t *testing.T) {
	var seen string
	inBubble(t, usual("h1"), func(w http.ResponseWriter, r *http.Request) { seen = r.Proto }, func(l *line) {
		c := l.open()
		go func() { _, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") }()
		_, _ = io.ReadAtLeast(c, make([]byte, 100), 12)
		_ = c.Close()
	})
	if seen != "" && seen != "HTTP/2.0" {
		t.Errorf("the preface was taken for a request of %s", seen)
	}
}
