package middleware

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/transcode"
)

// grpcCall is one call, and the writer that takes its answer: what comes in are
// frames and trailers of gRPC, what the client gets is JSON.
type grpcCall struct {
	m      *grpcTranscode
	x      *gateway.Exchange
	in     *http.Request // of the client
	client http.ResponseWriter
	table  *transcode.Table
	call   *transcode.Call
	vars   []string
	cancel context.CancelCauseFunc // ends the call
	upload *upload                 // nil unless the client streams
	sink   sink                    // of the messages of a stream; nil for answers of one message

	header      http.Header // what is being written: the head, then the trailers
	head        http.Header
	status      int // 0 before the head
	frames      transcode.Frames
	out         []byte
	contentType string
	messages    int
	failed      *gateway.Error // what is wrong with the answer
}

// sink is where the messages of a stream go.
type sink interface {
	// begin sends the head, before the first message.
	begin() error
	// send sends a message. An error is the client's.
	send(message []byte, contentType string) error
	flush() error
	// end ends a stream that has begun, with the trailers of the service if it came
	// to that. A handler that is to break the connection off panics.
	end(st *transcode.Status, trailers http.Header)
}

// run sends the call on, and answers the client.
func (c *grpcCall) run(out *http.Request, next http.Handler) {
	c.header, c.frames.Max = make(http.Header), c.m.max
	if c.sink == nil && c.call.RPC.IsStreamingServer() {
		c.sink = &streamSink{c: c, form: formOf(c.call, c.in.Header["Accept"])}
	}
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value, as net/http compares it
			panic(p)
		}
		c.finish(p != nil)
	}()
	next.ServeHTTP(c, out)
}

// Header implements http.ResponseWriter.
func (c *grpcCall) Header() http.Header { return c.header }

// WriteHeader implements http.ResponseWriter.
func (c *grpcCall) WriteHeader(status int) {
	if status < http.StatusOK || c.status != 0 {
		return
	}
	c.status, c.head, c.header = status, c.header, make(http.Header)
	if c.x.Err != nil || status != http.StatusOK {
		return // finish knows what to say
	}
	if ct := c.head.Get("Content-Type"); ct != "application/grpc" && !strings.HasPrefix(ct, "application/grpc+") && !strings.HasPrefix(ct, "application/grpc;") {
		c.fail("grpc_malformed", errors.New("the content type of the answer is not application/grpc"))
		return
	}
	c.frames.Gzip = c.head.Get("Grpc-Encoding") == "gzip"
	if c.sink != nil && c.head["Grpc-Status"] == nil && !c.call.RawAnswers() { // data say their type with the first message
		if err := c.sink.begin(); err != nil {
			c.x.ClientFailed(err)
			c.cancel(nil)
		}
	}
}

// Write implements http.ResponseWriter. Whatever is wrong with the bytes is not
// the client's doing, so it ends the call without an error here.
func (c *grpcCall) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	if c.failed != nil || c.x.Err != nil || c.status != http.StatusOK {
		return len(p), nil
	}
	err := c.frames.Write(p, c.message)
	if gone, ok := errors.AsType[*clientGoneError](err); ok {
		return 0, gone.err
	}
	if err != nil {
		c.fail("grpc_malformed", err)
	}
	return len(p), nil
}

// clientGoneError tells a client that cannot be written to from a service that
// sends nonsense.
type clientGoneError struct{ err error }

func (e *clientGoneError) Error() string { return e.err.Error() }

// message takes one message of the answer.
func (c *grpcCall) message(msg []byte) error {
	c.messages++
	if c.sink == nil && c.messages > 1 {
		return errors.New("more than one message")
	}
	var err error
	if c.out, c.contentType, err = c.call.AppendAnswer(c.out[:0], msg); err != nil {
		return err
	}
	if c.sink == nil {
		return nil
	}
	if err := c.sink.send(c.out, c.contentType); err != nil {
		return &clientGoneError{err}
	}
	return nil
}

// fail ends the call because of what the service has sent.
func (c *grpcCall) fail(reason string, err error) {
	c.failed = &gateway.Error{
		Status: http.StatusBadGateway, Reason: reason, Msg: "the service did not give a valid answer", Cause: gateway.CauseUpstream, Err: err,
	}
	if errors.Is(err, transcode.ErrTooLarge) {
		c.failed.Reason, c.failed.Msg, c.failed.GRPC = "grpc_too_large", "the answer of the service is too large", int(transcode.ResourceExhausted)
	}
	c.cancel(c.failed)
}

// FlushError is for http.ResponseController.
func (c *grpcCall) FlushError() error {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	if c.sink == nil || !c.begun() || c.failed != nil || c.x.Err != nil || c.status != http.StatusOK || c.head["Grpc-Status"] != nil {
		return nil
	}
	return c.sink.flush()
}

// SetReadDeadline is for http.ResponseController: the proxy core ends reads of the
// client's stream with it.
func (c *grpcCall) SetReadDeadline(t time.Time) error {
	if c.upload == nil || c.upload.whole.Load() || c.in.ProtoMajor != 1 {
		return nil
	}
	return http.NewResponseController(c.client).SetReadDeadline(t)
}

// begun says whether the client has got the head of an answer.
func (c *grpcCall) begun() bool {
	if _, socket := c.sink.(*socketSink); socket {
		return true
	}
	s, ok := c.sink.(*streamSink)
	return ok && s.begun
}

// finish gives the client its answer, or the end of it.
func (c *grpcCall) finish(aborted bool) {
	err := cmp.Or(c.failed, c.x.Err)
	if aborted && err == nil {
		err = &gateway.Error{Status: http.StatusBadGateway, Reason: "upstream_truncated", Msg: "the service broke off its answer", Cause: gateway.CauseUpstream}
	}
	trailers := trailersOf(c.head, c.header)
	st, err := c.verdict(err, trailers)
	if err != nil {
		c.finishFailed(err)
		return
	}
	if c.begun() {
		if st.Code != transcode.OK {
			c.x.Err = &gateway.Error{Status: st.Code.HTTP(), Reason: "grpc_status", Msg: st.Message, Cause: gateway.CauseUpstream}
		}
		c.sink.end(st, trailers)
		return
	}
	h := c.client.Header()
	transcode.AnswerHeader(h, c.head, transcode.MetadataPrefix, c.m.responseMetadata, c.m.responseHeaders)
	if c.head["Grpc-Status"] == nil {
		transcode.AnswerHeader(h, trailers, transcode.TrailerPrefix, c.m.responseMetadata, c.m.responseHeaders)
	}
	c.closeUnread(h)
	if st.Code != transcode.OK {
		c.problem(st)
		return
	}
	if c.sink != nil { // a stream without messages, in an answer without a body
		if c.sink.begin() == nil {
			c.sink.end(st, trailers)
		}
		return
	}
	h["Content-Type"] = []string{cmp.Or(c.contentType, "application/octet-stream")}
	c.write(http.StatusOK, c.out)
}

// verdict is how the call has ended: a status of the service, or an error.
func (c *grpcCall) verdict(err *gateway.Error, trailers http.Header) (*transcode.Status, *gateway.Error) {
	bad := func(text string) (*transcode.Status, *gateway.Error) {
		return nil, &gateway.Error{
			Status: http.StatusBadGateway, Reason: "grpc_malformed", Msg: "the service did not give a valid answer",
			Cause: gateway.CauseUpstream, Err: errors.New(text),
		}
	}
	if err != nil {
		return nil, err
	}
	if c.status != http.StatusOK {
		return &transcode.Status{Code: transcode.CodeOfAnswer(c.status), Message: "the service answers " + strconv.Itoa(c.status)}, nil
	}
	st, found, ok := c.table.Schema.ReadStatus(trailers)
	switch {
	case !found:
		return bad("the answer has no grpc-status")
	case !ok:
		return bad("grpc-status is no number")
	case c.frames.Rest():
		return bad("the answer ends within a message")
	case st.Code == transcode.OK && c.sink == nil && c.messages == 0:
		return bad("the answer has no message")
	}
	return &st, nil
}

// finishFailed tells the client of an error, in the way that is left.
func (c *grpcCall) finishFailed(err *gateway.Error) {
	if err.Status == gateway.StatusClientClosed {
		c.x.Err = err
		panic(http.ErrAbortHandler)
	}
	if !c.begun() {
		gateway.Fail(c.client, c.in, err)
		return
	}
	c.x.Err = err
	code := transcode.Code(err.GRPC)
	if code == transcode.OK {
		code = transcode.CodeOf(err.Status)
	}
	c.sink.end(&transcode.Status{Code: code, Message: err.Msg}, nil)
}

// problem answers with the status of the service. It is no error of the gateway.
func (c *grpcCall) problem(st *transcode.Status) {
	h := c.client.Header()
	h["Cache-Control"], h["X-Content-Type-Options"] = []string{"no-store"}, []string{"nosniff"}
	if st.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((st.RetryAfter+time.Second-1)/time.Second)))
	}
	status := st.Code.HTTP()
	if c.x.Pages != nil {
		if page := c.x.Pages.Page(c.in, status, ""); page.MediaType != "" {
			if page.Vary {
				h.Add("Vary", "Accept")
			}
			h["Content-Type"] = []string{page.MediaType}
			c.write(status, page.Body)
			return
		}
	}
	h["Content-Type"] = []string{"application/problem+json"}
	c.write(status, append(st.AppendProblem(nil, c.x.ID), '\n'))
}

func (c *grpcCall) write(status int, body []byte) {
	h := c.client.Header()
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	c.client.WriteHeader(status)
	if c.in.Method != http.MethodHead {
		_, _ = c.client.Write(body) // a client that left is noticed by the server
	}
}

// closeUnread ends the connection after an answer that came before the end of the
// request: nobody knows where the next one would begin.
func (c *grpcCall) closeUnread(h http.Header) {
	if c.upload != nil && c.in.ProtoMajor == 1 && !c.upload.whole.Load() {
		h["Connection"] = []string{"close"}
	}
}

// copyHead copies the metadata of the head to the client.
func (c *grpcCall) copyHead(h http.Header) {
	transcode.AnswerHeader(h, c.head, transcode.MetadataPrefix, c.m.responseMetadata, c.m.responseHeaders)
	maps.DeleteFunc(h, func(name string, _ []string) bool { return name == "Content-Length" })
}
