package middleware

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/transcode"
)

const (
	// socketStatus is added to a code of gRPC to make the status of a WebSocket's
	// close: 4000 to 4999 are for private use (RFC 6455, 7.4.2).
	socketStatus = 4000
	// socketPatience is how long a client may take one message.
	socketPatience = time.Minute
	maxCloseReason = 120
)

// serveSocket carries a call over a WebSocket: each text message is a message, an
// empty one is the end of the client's stream.
func (c *grpcCall) serveSocket(out *http.Request, next http.Handler) error {
	if !c.call.RPC.IsStreamingClient() && !c.call.RPC.IsStreamingServer() {
		return &gateway.Error{
			Status: http.StatusBadRequest, Reason: "transcode_websocket", Msg: "this operation does not stream; call it without a WebSocket", Cause: gateway.CauseClient,
		}
	}
	var first []byte
	if !c.call.RPC.IsStreamingClient() {
		var err error
		if first, err = c.frameFirst(); err != nil {
			return err
		}
	}
	guard := &handshakeWriter{ResponseWriter: c.client}
	conn, err := websocket.Accept(guard, c.in, &websocket.AcceptOptions{OriginPatterns: c.m.origins})
	if err != nil {
		status := http.StatusBadRequest
		if guard.refused == http.StatusForbidden {
			status = guard.refused
		}
		return &gateway.Error{Status: status, Reason: "transcode_websocket", Msg: "the WebSocket handshake was refused", Cause: gateway.CauseClient, Err: err}
	}
	defer func() { _ = conn.CloseNow() }() // usually closed by now
	conn.SetReadLimit(int64(c.m.max))
	s := &socketSink{c: c, conn: conn, ctx: out.Context()}
	c.sink = s
	c.x.Status = http.StatusSwitchingProtocols
	reader, writer := io.Pipe()
	var reads sync.WaitGroup
	defer reads.Wait()
	defer func() { _ = conn.CloseNow() }() // ends the read that is under way
	reads.Go(func() { s.receive(writer) })
	out.Body, out.ContentLength = reader, -1
	if !c.call.RPC.IsStreamingClient() {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(first)), int64(len(first))
	}
	defer func() {
		_ = reader.Close()
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
			panic(p)
		}
	}()
	c.run(out, next)
	return nil
}

// frameFirst is the one message of a call that streams only its answer.
func (c *grpcCall) frameFirst() ([]byte, error) {
	b, err := c.call.AppendMessage(transcode.AppendFrame(nil), &transcode.Request{Vars: c.vars, Query: c.in.URL.RawQuery, Header: c.in.Header})
	if err != nil {
		return nil, err
	}
	transcode.EndFrame(b, 0)
	return b, nil
}

// handshakeWriter keeps the texts of the library from the client: errors are
// written by gateway.Fail.
type handshakeWriter struct {
	http.ResponseWriter
	refused int
}

// Unwrap is for http.ResponseController and the library.
func (w *handshakeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *handshakeWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *handshakeWriter) Write(p []byte) (int, error) {
	if w.refused != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// socketSink sends the messages of a stream over a WebSocket.
type socketSink struct {
	c    *grpcCall
	conn *websocket.Conn
	ctx  context.Context // of the call

	ended atomic.Bool // the connection is closed from this side
}

// receive reads the client's messages until it has no more, or the connection ends.
// The pipe holds nothing: what the service does not take is not read.
func (s *socketSink) receive(to *io.PipeWriter) {
	var buf []byte
	open := s.c.call.RPC.IsStreamingClient()
	for {
		kind, text, err := s.conn.Read(context.Background()) // the end of the call closes the connection
		if err != nil {
			s.left(to, err)
			return
		}
		switch {
		case kind != websocket.MessageText:
			err = refuseMessage("messages are text")
		case !open:
			err = refuseMessage("a message after the end of the client's stream")
		case len(text) == 0:
			open = false
			_ = to.Close() // io.EOF for the transport
			continue
		default:
			if buf, err = s.c.frameOf(buf[:0], text); err == nil {
				_, err = to.Write(buf)
				if errors.Is(err, io.ErrClosedPipe) {
					continue // the service takes no more; its status is on the way
				}
			}
		}
		if err != nil {
			_ = to.CloseWithError(err)
			if e, ok := errors.AsType[*gateway.Error](err); ok {
				s.c.cancel(e)
			}
			return
		}
	}
}

func refuseMessage(text string) error {
	return &gateway.Error{Status: http.StatusBadRequest, Reason: "transcode_websocket", Msg: text, Cause: gateway.CauseClient, GRPC: 3}
}

// left is for a client that has closed the connection, unless the end of the call
// has. There is nobody to answer any more.
func (s *socketSink) left(to *io.PipeWriter, err error) {
	_ = to.CloseWithError(io.ErrUnexpectedEOF)
	if s.ended.Load() {
		return
	}
	s.c.x.ClientFailed(io.ErrUnexpectedEOF)
	s.c.cancel(&gateway.Error{Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: err})
}

func (s *socketSink) begin() error { return nil }
func (s *socketSink) flush() error { return nil }

func (s *socketSink) send(message []byte, _ string) error {
	ctx, cancel := context.WithTimeout(s.ctx, socketPatience)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, message)
}

// end says how the call ended: the code of gRPC is part of the status of the close,
// and an error is the last message besides.
func (s *socketSink) end(st *transcode.Status, _ http.Header) {
	s.ended.Store(true)
	if st.Code == transcode.OK {
		_ = s.conn.Close(websocket.StatusNormalClosure, "") // a client that left is no matter
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Second)
	defer cancel()
	problem := append(append([]byte(`{"error":`), st.AppendProblem(nil, s.c.x.ID)...), '}')
	_ = s.conn.Write(ctx, websocket.MessageText, problem) // likewise
	reason := strings.ToValidUTF8(st.Message[:min(len(st.Message), maxCloseReason)], "")
	_ = s.conn.Close(websocket.StatusCode(socketStatus+int(st.Code)), reason)
}
