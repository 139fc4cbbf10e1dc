package middleware

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/transcode"
)

var (
	errMessageTooLarge = &gateway.Error{
		Status: http.StatusRequestEntityTooLarge, Reason: "transcode_too_large", Msg: "the message is too large", Cause: gateway.CauseClient, Close: true,
	}
	lineTypes = []string{"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json"}
)

// serveMessage is for calls that have one message: its body is whole before the
// call begins, so that it can be sent again.
func (c *grpcCall) serveMessage(out *http.Request, next http.Handler) error {
	body, err := c.readBody()
	if err != nil {
		return err
	}
	message := transcode.AppendFrame(make([]byte, 0, transcode.FrameHeader+len(body)+64))
	message, err = c.call.AppendMessage(message, &transcode.Request{
		Vars: c.vars, Query: c.in.URL.RawQuery, Header: c.in.Header, ContentType: c.in.Header.Get("Content-Type"), Body: body,
	})
	if err != nil {
		return err
	}
	if len(message) > c.m.max+transcode.FrameHeader {
		return errMessageTooLarge
	}
	transcode.EndFrame(message, 0)
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(message)), int64(len(message))
	if !c.call.RPC.IsStreamingServer() {
		c.x.OnStream(nil) // it is gRPC, but with a foreseeable end
	}
	c.run(out, next)
	return nil
}

// readBody reads the client's body up to the limit.
func (c *grpcCall) readBody() ([]byte, error) {
	r := c.in
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	if r.ContentLength > int64(c.m.max) {
		return nil, errMessageTooLarge
	}
	if !c.call.RawRequests() {
		if err := isJSON(r, nil); err != nil {
			return nil, err
		}
	}
	var body []byte
	var err error
	if r.ContentLength > 0 {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = io.ReadAll(io.LimitReader(r.Body, int64(c.m.max)+1))
	}
	switch {
	case err != nil:
		return nil, c.clientFailed(err)
	case len(body) > c.m.max:
		return nil, errMessageTooLarge
	}
	return body, nil
}

// clientFailed is the answer to a client whose body could not be read.
func (c *grpcCall) clientFailed(err error) error {
	c.x.ClientFailed(err)
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	e := &gateway.Error{Status: http.StatusBadRequest, Reason: "transcode_body", Msg: "the body is incomplete", Cause: gateway.CauseClient, Err: err, Close: true}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e.Status, e.Msg = http.StatusRequestEntityTooLarge, "the body is larger than this route allows"
	}
	return e
}

// isJSON refuses a body whose content type says that it is something else.
// Without one it is taken for JSON.
func isJSON(r *http.Request, types []string) error {
	text := r.Header.Get("Content-Type")
	if text == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(text)
	if err == nil && (media == "application/json" || strings.HasSuffix(media, "+json") || slices.Contains(types, media)) {
		return nil
	}
	return &gateway.Error{
		Status: http.StatusUnsupportedMediaType, Reason: "transcode_media_type", Msg: "the body of this operation is JSON; send it as application/json",
		Cause: gateway.CauseClient,
	}
}

// serveUpload is for calls whose client streams: each line of the body is a message.
func (c *grpcCall) serveUpload(out *http.Request, next http.Handler) error {
	if err := isJSON(c.in, lineTypes); err != nil && !c.call.RawRequests() {
		return err
	}
	if c.in.ProtoMajor == 1 {
		// Without it net/http swallows the rest of the body before an answer goes.
		_ = http.NewResponseController(c.client).EnableFullDuplex() // a writer that cannot is not net/http's
	}
	u := &upload{c: c}
	if c.in.Body != nil {
		u.lines = bufio.NewReaderSize(c.in.Body, 4<<10)
	}
	c.upload = u
	out.Body, out.ContentLength = u, -1
	c.run(out, next)
	return nil
}

// upload reads lines and gives frames, one at a time: what the service does not
// take is not read.
type upload struct {
	c     *grpcCall
	lines *bufio.Reader // nil without a body
	line  []byte
	frame []byte      // what is left of the current one
	buf   []byte      // that frame is in
	whole atomic.Bool // the client has sent everything
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	for len(u.frame) == 0 {
		if u.whole.Load() || u.lines == nil {
			u.whole.Store(true)
			return 0, io.EOF
		}
		if err := u.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, u.frame)
	u.frame = u.frame[n:]
	return n, nil
}

// next reads a line and makes a frame of it. An empty line is none.
func (u *upload) next() error {
	raw := u.c.call.RawRequests()
	if err := u.read(raw); err != nil {
		return err
	}
	if !raw && len(bytes.TrimSpace(u.line)) == 0 || len(u.line) == 0 {
		return nil
	}
	buf, err := u.c.frameOf(u.buf[:0], u.line)
	u.buf, u.frame = buf, buf
	return err
}

// read reads up to the end of a line, or, of data, what there is.
func (u *upload) read(raw bool) error {
	u.line = u.line[:0]
	for {
		var part []byte
		var err error
		if raw {
			if _, err = u.lines.Peek(1); err == nil {
				part, _ = u.lines.Peek(u.lines.Buffered()) // it is there
				_, _ = u.lines.Discard(len(part))          // likewise
			}
		} else {
			part, err = u.lines.ReadSlice('\n')
		}
		if len(u.line)+len(part) > u.c.m.max {
			return errMessageTooLarge
		}
		u.line = append(u.line, part...)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, io.EOF):
			u.whole.Store(true)
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// Close implements io.Closer. A transport calls it to end a read that waits for
// the client.
func (u *upload) Close() error {
	r := u.c.in
	if r.Body == nil || u.whole.Load() {
		return nil
	}
	if r.ProtoMajor >= 2 {
		return r.Body.Close()
	}
	return http.NewResponseController(u.c.client).SetReadDeadline(time.Now())
}

// frameOf makes a frame of a message of the client's stream.
func (c *grpcCall) frameOf(dst, message []byte) ([]byte, error) {
	dst, err := c.call.AppendStreamed(transcode.AppendFrame(dst), &transcode.Request{
		Vars: c.vars, Query: c.in.URL.RawQuery, Header: c.in.Header, ContentType: c.in.Header.Get("Content-Type"), Body: message,
	})
	if err != nil {
		return nil, err
	}
	if len(dst) > c.m.max+transcode.FrameHeader {
		return nil, errMessageTooLarge
	}
	transcode.EndFrame(dst, 0)
	return dst, nil
}
