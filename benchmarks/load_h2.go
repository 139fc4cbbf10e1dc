package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
)

// h2Client is one stream at a time of an HTTP/2 connection that several share.
type h2Client struct {
	conn *http.ClientConn
	test testCase
	url  string
	body []byte
}

func newH2Clients(ctx context.Context, o loadOptions) ([]client, error) {
	var clients []client
	transport, scheme := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}, "http"
	transport.Protocols.SetUnencryptedHTTP2(true)
	if o.test.kind == kindTLS {
		scheme = "https"
		transport.Protocols.SetUnencryptedHTTP2(false)
		transport.Protocols.SetHTTP2(true)
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} //nolint:gosec // every proxy has the same certificate of this run
	}
	for range o.test.conns {
		conn, err := transport.NewClientConn(ctx, scheme, o.addr)
		if err != nil {
			return nil, err
		}
		var body []byte
		if o.test.kind == kindGRPC {
			body = grpcMessage(o.test.body)
		}
		for range o.test.streams() {
			clients = append(clients, &h2Client{conn: conn, test: o.test, url: scheme + "://" + o.addr + o.test.path, body: body})
		}
	}
	return clients, nil
}

func (c *h2Client) do(ctx context.Context) error {
	method := http.MethodGet
	if c.body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	want := int64(c.test.size)
	if c.test.kind == kindGRPC {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		want += 5 // the prefix of the message
	}
	resp, err := c.conn.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to the end
	n, err := io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("answered %s", resp.Status)
	case n != want:
		return fmt.Errorf("the body has %d bytes, not %d", n, want)
	case c.test.kind == kindGRPC && resp.Trailer.Get("Grpc-Status") != "0":
		return fmt.Errorf("grpc-status is %q", resp.Trailer.Get("Grpc-Status"))
	}
	return nil
}

func (c *h2Client) close() { _ = c.conn.Close() } // several close it; it is only ever the end
