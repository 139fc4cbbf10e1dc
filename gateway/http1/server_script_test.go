package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// acted is what a handler did that follows a script: letters, each with a number
// behind it.
type acted struct {
	w         http.ResponseWriter
	head, old bool

	done    string // the letters
	status  int
	wrote   bool
	length  int // announced with the head; -1 is none
	next    int // to be announced; -1 is none
	body    []byte
	refused bool // a write, because it was more than announced
	late    []string
	named   bool // Late was announced
	closes  bool
}

// follow does one step after the other, at most some.
func (a *acted) follow(steps []byte) {
	a.length, a.next = -1, -1
	for i := 0; i < len(steps) && len(a.done) < 50; i++ {
		letter, n := steps[i], 0
		for i+1 < len(steps) && steps[i+1] >= '0' && steps[i+1] <= '9' {
			i++
			n = min(n*10+int(steps[i]-'0'), 100_000)
		}
		if strings.IndexByte("swWrflitThca", letter) >= 0 {
			a.done += string(letter)
			a.step(letter, n)
		}
	}
}

func (a *acted) step(letter byte, n int) {
	h := a.w.Header()
	switch letter {
	case 's':
		if n >= 200 && n <= 999 || n == 101 {
			a.begin(n)
			a.w.WriteHeader(n)
		}
	case 'i':
		if n >= 100 && n < 200 && n != 101 {
			a.w.WriteHeader(n)
		}
	case 'w', 'W', 'r':
		if letter == 'W' {
			n = min(n, 100) << 10
		}
		a.write(letter, bytes.Repeat([]byte{'a' + byte(n%26)}, n))
	case 'f':
		a.begin(200)
		_ = http.NewResponseController(a.w).Flush()
	case 'l':
		h.Set("Content-Length", strconv.Itoa(n))
		if !a.wrote {
			a.next = n
		}
	case 't':
		h.Set("Trailer", "Late")
		h.Set("Late", strconv.Itoa(n)) // too early: it is in the head, too
		a.named = a.named || !a.wrote
	case 'T':
		h.Set(http.TrailerPrefix+"Late", strconv.Itoa(n))
	case 'h':
		h.Set("X-Large", strings.Repeat("x\n", n%20000))
	case 'c':
		h.Set("Connection", "close")
		a.closes = a.closes || !a.wrote
	case 'a':
		panic(http.ErrAbortHandler)
	}
}

// begin notes the status with which the head is written, and its length.
func (a *acted) begin(status int) {
	if !a.wrote {
		a.wrote, a.status, a.length = true, status, a.next
		if status < 200 || status == 204 || status == 304 {
			a.length = -1
		}
	}
}

func (a *acted) write(letter byte, p []byte) {
	a.begin(200)
	if letter == 'r' && len(p) > 0 {
		n, err := a.w.(io.ReaderFrom).ReadFrom(bytes.NewReader(p))
		a.body, a.refused = append(a.body, p[:n]...), a.refused || err != nil
		return
	}
	n, err := a.w.Write(p)
	a.body, a.refused = append(a.body, p[:n]...), a.refused || err != nil
}

// broken says whether the answer is not what it said.
func (a *acted) broken() bool {
	return strings.Contains(a.done, "a") || a.length >= 0 && len(a.body) != a.length && !a.head
}

// check reads what came.
func (a *acted) check(t *testing.T, method string, got []byte) {
	in := bufio.NewReader(bytes.NewReader(got))
	if !strings.Contains(a.done, "a") {
		a.begin(200)
	}
	if a.w.Header().Get(http.TrailerPrefix+"Late") != "" {
		a.late = append(a.late, a.w.Header().Get(http.TrailerPrefix+"Late"))
	}
	if a.named {
		a.late = append([]string{a.w.Header().Get("Late")}, a.late...)
	}
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			if !a.broken() || !errors.Is(err, io.ErrUnexpectedEOF) || len(got) > 0 && !strings.Contains(a.done, "i") {
				t.Fatalf("%v: %q", err, got)
			}
			return
		}
		if resp.StatusCode < 200 && resp.StatusCode != 101 {
			continue
		}
		if resp.StatusCode != a.status {
			t.Fatalf("status %d, want %d", resp.StatusCode, a.status)
		}
		if a.checkBody(t, resp, got) {
			a.checkNext(t, resp, in)
		}
		return
	}
}

// checkNext looks for the answer to the next request.
func (a *acted) checkNext(t *testing.T, resp *http.Response, in *bufio.Reader) {
	next, err := http.ReadResponse(in, &http.Request{Method: "GET"})
	if ends := resp.Close || a.closes || a.broken() || resp.StatusCode == 101; ends != (err != nil) {
		t.Fatalf("there is another answer: %v, though the first says close: %t", err == nil, ends)
	}
	if err != nil {
		if in.Buffered() > 0 {
			t.Fatalf("%v behind the answer", err)
		}
		return
	}
	if body, err := io.ReadAll(next.Body); err != nil || string(body) != "farther" {
		t.Fatalf("the next answer is %q, %v", body, err)
	}
}
