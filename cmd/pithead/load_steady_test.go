package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// steadyLoad are clients for hundreds of thousands of requests: each keeps its connection,
// asks as soon as it has its answer and remembers nothing but how many were good. What is
// sent and what comes back is always the same.
type steadyLoad struct {
	addr         string
	stop         chan struct{}
	all          sync.WaitGroup
	done, failed atomic.Int64
	first        atomic.Pointer[error]
}

const steadyRequest = "POST /v1/orders/7 HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5\r\n\r\nhello"

func startSteady(t *testing.T, addr string, clients int) *steadyLoad {
	t.Helper()
	l := &steadyLoad{addr: addr, stop: make(chan struct{})}
	for range clients {
		l.all.Go(l.client)
	}
	t.Cleanup(l.finish)
	return l
}

// finish stops the clients, each after the answer that it waits for.
func (l *steadyLoad) finish() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.all.Wait()
}

// wantAllWell fails the test if one request has failed.
func (l *steadyLoad) wantAllWell(t *testing.T) {
	t.Helper()
	l.finish()
	t.Logf("%d failed of %d requests", l.failed.Load(), l.done.Load())
	if l.failed.Load() > 0 {
		t.Errorf("the first failure: %v", *l.first.Load())
	}
}

func (l *steadyLoad) client() {
	for {
		again, err := l.connection()
		if err != nil {
			l.failed.Add(1)
			l.done.Add(1)
			l.first.CompareAndSwap(nil, &err)
		}
		if !again {
			return
		}
	}
}

// connection asks until its connection may not be used any more, or the load is to end.
func (l *steadyLoad) connection() (again bool, err error) {
	c, err := net.DialTimeout("tcp", l.addr, patience)
	if err != nil {
		return false, err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		select {
		case <-l.stop:
			return false, nil
		default:
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, steadyRequest); err != nil {
			return true, err
		}
		last, err := readSteady(r)
		if err != nil {
			return true, err
		}
		l.done.Add(1)
		if last {
			return true, nil
		}
	}
}

// readSteady reads an answer that must be 200 with a length and the word of quickOrigin.
func readSteady(r *bufio.Reader) (last bool, err error) {
	status, err := r.ReadString('\n')
	if err != nil {
		return true, fmt.Errorf("no answer: %w", err)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return true, fmt.Errorf("head of the answer: %w", err)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return true, err
			}
		case "Connection":
			last = string(value) == "close"
		}
	}
	if length < 0 {
		return true, errors.New("an answer without a length")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return true, fmt.Errorf("body of the answer: %w", err)
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200 ") || string(body) != "done" {
		return true, fmt.Errorf("%s: %s", strings.TrimSpace(status), body)
	}
	return last, nil
}

// quickOrigin answers requests without a body, or with one of five bytes, as cheaply as
// they are sent.
func quickOrigin(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	conns := make(map[net.Conn]bool)
	var mu sync.Mutex
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed by the cleanup
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			all.Go(func() {
				answerQuickly(c)
				mu.Lock()
				defer mu.Unlock()
				delete(conns, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // that ends the accepting
		mu.Lock()
		for c := range conns {
			_ = c.Close() // that ends its reading
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

func answerQuickly(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		length := int64(0)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if bytes.HasPrefix(line, []byte("Content-Length: 5")) {
				length = 5
			}
		}
		if _, err := io.CopyN(io.Discard, r, length); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"); err != nil {
			return
		}
	}
}
