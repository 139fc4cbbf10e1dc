package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
)

// maxMirrorAnswer is how much of an answer is read so that the connection can be
// used again.
const maxMirrorAnswer = 64 << 10

// mirrorCopy is the copy of one request while its body comes. It has no goroutine
// and no timer: the transport that reads the body moves it on, and the end of the
// request ends it.
type mirrorCopy struct {
	m *mirror
	x *gateway.Exchange // of the request that is copied

	mu   sync.Mutex    // the transport reads the body in a goroutine of its own
	out  *http.Request // nil before it is begun, and when it is decided what becomes of it
	body []byte
}

// begin copies the head of the request on its way upstream.
func (c *mirrorCopy) begin(out *http.Request) {
	hasBody := out.Body != nil && out.Body != http.NoBody
	if hasBody && (out.ContentLength > c.m.maxBody || c.m.maxBody == 0) {
		c.m.count(mirrorTooLarge)
		return
	}
	if !c.m.copies.enter(c.m.maxInFlight) {
		c.m.count(mirrorDropped)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = c.m.head(out)
	if !hasBody {
		c.send()
		return
	}
	if out.ContentLength > 0 {
		c.body = make([]byte, 0, out.ContentLength)
	}
	out.Body = &mirroredBody{out.Body, c}
}

// mirroredBody tells a copy what the transport reads.
type mirroredBody struct {
	io.ReadCloser
	c *mirrorCopy
}

// Read implements io.Reader.
func (b *mirroredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.c.read(p[:n], err)
	return n, err
}

func (c *mirrorCopy) read(p []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		return
	}
	if int64(len(c.body)+len(p)) > c.m.maxBody {
		c.drop(mirrorTooLarge)
		return
	}
	c.body = append(c.body, p...)
	switch {
	case errors.Is(err, io.EOF), int64(len(c.body)) == c.out.ContentLength:
		c.send()
	case err != nil:
		c.drop(mirrorIncomplete)
	}
}

// finish is for the end of the request.
func (c *mirrorCopy) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil {
		c.drop(mirrorIncomplete)
	}
}

// drop gives up. The caller has the lock.
func (c *mirrorCopy) drop(result string) {
	c.out, c.body = nil, nil
	c.m.copies.leave()
	c.m.count(result)
}

// send sends the copy off. The caller has the lock.
func (c *mirrorCopy) send() {
	out, body, x := c.out, c.body, c.exchange()
	c.out, c.body = nil, nil
	out.ContentLength, out.Body = int64(len(body)), http.NoBody
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	go c.m.deliver(out, x)
}

// exchange is that of the copy: what balancing may ask of the caller, and nothing
// of the one that is going to be logged.
func (c *mirrorCopy) exchange() *gateway.Exchange {
	return &gateway.Exchange{
		Request: c.out, ID: c.x.ID, Start: time.Now(), Listener: c.x.Listener, Client: c.x.Client, Scheme: c.x.Scheme,
		Route: c.x.Route, Upstream: c.m.to.Name(), Subset: c.m.subset, Subject: c.x.Subject, Cluster: c.m.to,
	}
}

// deliver sends a copy and waits for its answer.
func (m *mirror) deliver(r *http.Request, x *gateway.Exchange) {
	defer m.copies.leave()
	defer func() {
		if p := recover(); p != nil { // the process is not to die of a copy
			m.log.Error("panic while copying a request", "id", x.ID, "upstream", x.Upstream, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			m.count(mirrorFailed)
		}
	}()
	ctx, cancel := context.WithTimeout(m.copies.ctx, m.timeout)
	defer cancel()
	res, err := m.to.RoundTrip(gateway.WithExchange(r.WithContext(ctx), x))
	switch {
	case err == nil:
		_, _ = io.CopyN(io.Discard, res.Body, maxMirrorAnswer) // nobody wants it
		_ = res.Body.Close()
		m.count(mirrorAnswered)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		m.count(mirrorTimeout)
	default:
		m.log.Debug("a copy of a request failed", "id", x.ID, "upstream", x.Upstream, "error", err)
		m.count(mirrorFailed)
	}
}

// head is a copy of out without its body.
func (m *mirror) head(out *http.Request) *http.Request {
	r := out.Clone(context.Background()) // the copy outlives the request
	r.Body, r.Trailer, r.TransferEncoding, r.RequestURI = nil, nil, nil, ""
	delete(r.Header, "Expect") // the whole body is here
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header["User-Agent"] = []string{""} // net/http would name itself
	}
	if m.host != "" {
		r.Host = m.host
	}
	if !m.credentials {
		dropCredentials(r)
	}
	return r
}

// dropCredentials takes out of r what proves who the caller is.
func dropCredentials(r *http.Request) {
	for name := range r.Header {
		if isCredential(name) {
			delete(r.Header, name)
		}
	}
	r.URL.User = nil
	if strings.Contains(r.URL.RawQuery, "token") || strings.Contains(r.URL.RawQuery, "%") {
		parts := strings.Split(r.URL.RawQuery, "&")
		r.URL.RawQuery = strings.Join(slices.DeleteFunc(parts, isAccessToken), "&")
	}
}

// isAccessToken knows the parameter of RFC 6750, section 2.3.
func isAccessToken(part string) bool {
	name, _, _ := strings.Cut(part, "=")
	name, err := url.QueryUnescape(name)
	return err == nil && name == "access_token"
}

// isCredential says whether a header of that name proves who the caller is.
func isCredential(name string) bool {
	plain := strings.ToLower(plainName.Replace(name))
	return slices.Contains(credentialNames, plain) ||
		slices.ContainsFunc(credentialEnds, func(end string) bool { return strings.HasSuffix(plain, end) })
}

var (
	plainName       = strings.NewReplacer("-", "", "_", "", ".", "")
	credentialNames = []string{"cookie", "cookie2", "dpop"}
	credentialEnds  = []string{"authorization", "token", "apikey", "secret", "password"}
)
