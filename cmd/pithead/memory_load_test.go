package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// crowded are clients that want much and are slow to take it.
type crowded struct {
	addr string
	stop chan struct{}
	all  sync.WaitGroup

	answered, refused, away, broken, wrong, silent atomic.Int64
}

// errStopped says that the clients are to stop.
var errStopped = errors.New("stopped")

// largeBody is what the gateway keeps until somebody has allowed the request.
var largeBody = strings.Repeat("x", 1<<20)

// client asks again and again: large bodies, large answers that are read slowly, streams, heads
// that never end. A client waits for a second before it comes back, not as long as it is told.
func (c *crowded) client(i int) {
	for c.pauses(time.Duration(i) * time.Millisecond / 2); c.pauses(time.Second); {
		switch status, after, err := c.ask(i % 4); {
		case errors.Is(err, errStopped):
			return
		case errors.Is(err, errNoConnection):
			c.away.Add(1)
		case err != nil:
			c.broken.Add(1)
		case status == http.StatusOK:
			c.answered.Add(1)
		case status == http.StatusServiceUnavailable:
			c.refused.Add(1)
			if after == "" {
				c.silent.Add(1)
			}
		case i%4 == 3 && (status == http.StatusRequestTimeout || status == http.StatusBadRequest): // for half a head
		default:
			c.wrong.Add(1)
		}
	}
}

// pauses says whether the clients go on after some time.
func (c *crowded) pauses(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.stop:
		return false
	}
}

var errNoConnection = errors.New("no connection")

// ask sends one request of a sort on a connection of its own.
func (c *crowded) ask(sort int) (status int, after string, err error) {
	conn, err := net.DialTimeout("tcp", c.addr, patience)
	if err != nil {
		return 0, "", errNoConnection
	}
	defer c.closing(conn)()
	switch sort {
	case 0, 1:
		status, after, err = exchangeOn(conn, fmt.Sprintf("POST /checked HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(largeBody)), largeBody)
	case 2:
		status, after, err = exchangeOn(conn, "GET /large HTTP/1.1\r\nHost: a\r\nX-Large: "+largeBody[:12<<10]+"\r\n\r\n", "")
	default:
		status, after, err = exchangeOn(conn, "GET /head HTTP/1.1\r\nHost: a\r\nX-Large: "+largeBody[:15<<10], "")
	}
	select {
	case <-c.stop:
		return 0, "", errStopped
	default:
		return status, after, err
	}
}

// closing closes a connection when clients are to stop, or the function that it returns is called.
func (c *crowded) closing(conn net.Conn) func() {
	left := make(chan struct{})
	c.all.Go(func() {
		select {
		case <-c.stop:
		case <-left:
		}
		_ = conn.Close()
	})
	return func() { close(left) }
}

// exchangeOn sends a request and reads its answer slowly, some 256 KiB a second.
func exchangeOn(conn net.Conn, head, body string) (status int, after string, err error) {
	sent := make(chan struct{})
	go func() { // an answer may come before all is sent
		defer close(sent)
		_, err := io.WriteString(conn, head)
		for tick := time.Tick(100 * time.Millisecond); body != "" && err == nil; <-tick { // the answer tells of errors
			part := body[:min(64<<10, len(body))]
			body = body[len(part):]
			_, err = io.WriteString(conn, part)
		}
	}()
	defer func() { _ = conn.Close(); <-sent }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, resp.Header.Get("Retry-After"), nil
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.CopyN(io.Discard, resp.Body, 64<<10); errors.Is(err, io.EOF) {
			return resp.StatusCode, "", nil
		} else if err != nil {
			return 0, "", err
		}
		<-tick.C
	}
}

// quick asks for something small.
func (c *crowded) quick() (status int, after string, err error) {
	conn, err := net.DialTimeout("tcp", c.addr, time.Second)
	if err != nil {
		return 0, "", err
	}
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, "", errors.Join(err, conn.Close())
	}
	return exchangeOn(conn, "GET /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "")
}
