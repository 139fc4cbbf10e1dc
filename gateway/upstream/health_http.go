package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
)

// maxCheckBody bounds what is read of a check's answer.
const maxCheckBody = 64 << 10

// askHTTP sends GET and wants a status that counts as success.
func (k *checker) askHTTP(ctx context.Context) error {
	u, err := url.ParseRequestURI(k.Path)
	if err != nil {
		return err
	}
	req := k.request(ctx, http.MethodGet, u)
	resp, err := k.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if !k.succeeds(resp.StatusCode) {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxCheckBody)); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// request is a request of a check for the path and query of u.
func (k *checker) request(ctx context.Context, method string, u *url.URL) *http.Request {
	u.Scheme, u.Host = "http", k.target
	if k.c.opts.Protocol == "https" {
		u.Scheme = "https"
	}
	req := http.Request{
		Method: method, URL: u, Host: k.Host, Header: http.Header{"User-Agent": {"pithead"}},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	return req.WithContext(ctx)
}

func (k *checker) succeeds(status int) bool {
	if k.Statuses == nil {
		return status >= 200 && status < 400
	}
	return slices.Contains(k.Statuses, status)
}
