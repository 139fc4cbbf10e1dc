package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// h1Client is one HTTP/1.1 connection, read and written by hand: a whole
// http.Client would take more of its core than most of the proxies of theirs.
type h1Client struct {
	addr    string
	test    testCase
	request []byte

	conn net.Conn
	in   *bufio.Reader
}

func requestBytes(addr string, c *testCase) []byte {
	method, extra := "GET", ""
	if c.body > 0 {
		method, extra = "POST", fmt.Sprintf("Content-Type: text/plain\r\nContent-Length: %d\r\n", c.body)
	}
	if c.token {
		extra += "Authorization: Bearer " + bearerToken() + "\r\n"
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n%s\r\n", method, c.path, addr, extra)
	return append([]byte(head), bytes.Repeat([]byte{'x'}, c.body)...)
}

func (c *h1Client) do(ctx context.Context) error {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return err
		}
	}
	err := c.exchange()
	if err != nil || c.test.fresh {
		c.close()
	}
	return err
}

func (c *h1Client) dial(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	if c.test.kind == kindTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, ServerName: "bench.test"}) //nolint:gosec // every proxy has the same certificate of this run
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 64<<10)
	return nil
}

func (c *h1Client) exchange() error {
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answered %s", strings.TrimSpace(string(line)))
	}
	length, err := readHead(c.in)
	if err != nil {
		return err
	}
	if length != c.test.size {
		return fmt.Errorf("the body has %d bytes, not %d", length, c.test.size)
	}
	_, err = c.in.Discard(length)
	return err
}

func (c *h1Client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is waited for
		c.conn = nil
	}
}
