package http1

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/splice"
)

// maxHead is the default of Transport.MaxHead.
const maxHead = 256 << 10

// answer is one request and its answer, up to the last byte. It is the body of the
// response, too.
type answer struct {
	t    *Transport
	c    *conn
	req  *http.Request
	ctx  context.Context
	stop func() bool // ends the watch of ctx
	send *sender     // nil for a request without a body
	resp http.Response

	framing framing
	left    int64 // of a body whose length is known
	chunks  chunks
	shut    bool        // the connection is not to be used again
	over    error       // what reads return from now on; nil while there is more
	closed  atomic.Bool // by whom the response was given to
	done    atomic.Bool // the connection is somebody else's
}

// roundTrip sends the request and reads the head of the answer.
func (a *answer) roundTrip(head []byte, trace *httptrace.ClientTrace) (*http.Response, error) {
	a.stop = context.AfterFunc(a.ctx, a.c.abort)
	a.begin(head)
	h, err := a.final(trace)
	if err != nil {
		return nil, a.fail(err)
	}
	if err := a.describe(&h); err != nil {
		return nil, a.fail(err)
	}
	return &a.resp, nil
}

// begin sends the head, and has the body sent.
func (a *answer) begin(head []byte) {
	if !hasBody(a.req) {
		_, _ = a.c.net.Write(head) // a server that reads no more may have said why
		return
	}
	a.send = newSender(a.c, a.req, head, cmp.Or(a.t.ContinueTimeout, time.Second))
	go a.send.run()
}

// final reads heads until one is not interim (RFC 9110 section 15.2).
func (a *answer) final(trace *httptrace.ClientTrace) (head, error) {
	for interim := 0; ; interim++ {
		h, err := a.c.in.readHead(cmp.Or(a.t.MaxHead, maxHead), &a.c.heard)
		if err != nil || h.status >= 200 || h.status == http.StatusSwitchingProtocols {
			return h, err
		}
		if _, _, err := h.frame(a.req.Method); err != nil {
			return head{}, err // there is no body, but not everybody may know
		}
		if h.status == http.StatusContinue && a.send != nil {
			a.send.proceed(true)
		}
		if trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(h.status, textproto.MIMEHeader(h.fields)); err != nil {
				return head{}, err
			}
		} else if interim == maxInterim {
			return head{}, &AnswerError{"too many interim answers"}
		}
	}
}

// describe fills in the response.
func (a *answer) describe(h *head) error {
	if a.send != nil {
		a.send.proceed(false)
	}
	inChunks := h.fields["Transfer-Encoding"] != nil
	framing, length, err := h.frame(a.req.Method)
	if err != nil {
		return err
	}
	var trailer http.Header
	if inChunks { // otherwise there are none, whatever it says
		if trailer, err = h.announced(); err != nil {
			return err
		}
	}
	a.framing, a.left = framing, length
	a.resp = http.Response{
		Status: h.text, StatusCode: h.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: h.minor,
		Header: h.fields, ContentLength: length, Request: a.req, Trailer: trailer, Close: closes(h.minor, h.fields) || framing == byClose,
	}
	if h.minor == 0 {
		a.resp.Proto = "HTTP/1.0"
	}
	// A body that cannot be there may come all the same, and would be the next answer.
	bogus := h.status == http.StatusNoContent && (inChunks || len(h.fields["Content-Length"]) > 0 && h.fields["Content-Length"][0] != "0")
	a.shut = a.shut || a.resp.Close || bogus
	switch {
	case h.status == http.StatusSwitchingProtocols:
		return a.leave()
	case framing == noBody:
		a.resp.Body = http.NoBody
		a.finish(true)
	case framing == byChunks:
		a.resp.TransferEncoding, a.left = []string{"chunked"}, 0
		fallthrough
	default:
		a.resp.Body = a
	}
	return nil
}

// leave makes the connection a tunnel, which the context does not end any more.
func (a *answer) leave() error {
	// RFC 9110 section 7.8: nothing that was not asked for, and it says what.
	asked := a.req.Header["Upgrade"] != nil && a.resp.Header.Get("Upgrade") != "" && grammar.HasToken(a.resp.Header["Connection"], "upgrade")
	if !asked || a.resp.ProtoMinor == 0 {
		return &AnswerError{"it switches protocols unasked"}
	}
	if a.send != nil {
		return &AnswerError{"it switches protocols in the middle of the request"}
	}
	if !a.stop() {
		return context.Cause(a.ctx)
	}
	a.done.Store(true)
	a.resp.Body = &tunnel{c: a.c}
	a.resp.ContentLength = 0
	return nil
}

// fail ends a request that gets no answer, and says why. When it returns, nobody
// reads the request any more.
func (a *answer) fail(err error) error {
	err = a.why(err)
	a.finish(false)
	if a.send != nil {
		<-a.send.done
	}
	return err
}

// why is the reason behind an error of the connection: whoever has closed it.
func (a *answer) why(err error) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	if a.send != nil {
		if failed := a.send.failed.Load(); failed != nil {
			return *failed
		}
	}
	return err
}

// finish gives the connection back, or closes it.
func (a *answer) finish(whole bool) {
	if a.done.Swap(true) {
		return
	}
	unharmed := a.stop() // nothing closes it from here on
	if whole && len(a.c.in.buffered()) == 0 {
		a.c.in.release()
		if unharmed && !a.shut && (a.send == nil || a.send.whole()) {
			a.t.rest(a.c)
			return
		}
	}
	a.c.close()
	if a.send != nil {
		a.send.abandon()
	}
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	if a.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if a.over != nil || len(p) == 0 {
		return 0, a.over
	}
	return a.took(a.take(p))
}

// took notes the end of the body.
func (a *answer) took(n int, err error) (int, error) {
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		a.over = io.EOF
		a.finish(true)
	} else {
		a.over = a.why(err)
		a.finish(false)
	}
	return n, a.over
}

// take reads some of the body. Its end is io.EOF, the connection's before that
// io.ErrUnexpectedEOF.
func (a *answer) take(p []byte) (int, error) {
	switch a.framing {
	case byClose:
		return a.c.in.read(p)
	case byChunks:
		return a.chunks.read(&a.c.in, p, cmp.Or(a.t.MaxHead, maxHead), &a.resp.Trailer)
	}
	n, err := a.c.in.read(p[:min(int64(len(p)), a.left)])
	return n, a.count(n, err)
}

// count takes n bytes off what is left of a body of known length.
func (a *answer) count(n int, err error) error {
	a.left -= int64(n)
	switch {
	case a.left == 0:
		return io.EOF
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// Piped implements splice.Source.
func (a *answer) Piped() int64 {
	if a.framing != byLength || a.left < splice.Worth || a.c.raw == nil || len(a.c.in.buffered()) > 0 || a.over != nil {
		return 0
	}
	return a.left
}

// ReadPipe implements splice.Source.
func (a *answer) ReadPipe(p *splice.Pipe) (int, error) {
	if a.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if a.over != nil || a.c.raw == nil {
		return 0, cmp.Or(a.over, errors.ErrUnsupported)
	}
	n, err := p.Fill(a.c.raw, a.left)
	return a.took(n, a.count(n, err))
}

// Close implements io.Closer. The rest of the answer is not waited for, and its
// connection is closed with it.
func (a *answer) Close() error {
	if !a.closed.Swap(true) {
		a.finish(false)
	}
	return nil
}
