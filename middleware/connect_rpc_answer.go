package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway/grpcweb"
	"github.com/pithead/pithead/gateway/transcode"
)

// trailerPrefix is what metadata at the end of an answer of one message have
// before their names.
const trailerPrefix = "Trailer-"

// dropGRPC deletes what gRPC says of itself.
func dropGRPC(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "Grpc-") {
			delete(h, name)
		}
	}
}

// connectUnary keeps the one message of an answer until its status is there.
type connectUnary struct {
	codec  string
	json   *transcode.Codec
	max    int
	coding string
	buf    []byte // the frame
}

// begin implements answerForm.
func (f *connectUnary) begin(a *grpcAnswer) bool {
	f.coding = a.head.Get("Grpc-Encoding")
	return false
}

// write implements answerForm.
func (f *connectUnary) write(p []byte) error {
	f.buf = append(f.buf, p...)
	if len(f.buf) > f.max+grpcweb.HeadLen { // one frame has been measured already
		return fmt.Errorf("%w: more than one message", errAnswerForm)
	}
	return nil
}

// flush implements answerForm.
func (f *connectUnary) flush() error { return nil }

// complete implements answerForm.
func (f *connectUnary) complete(a *grpcAnswer) error {
	if a.scan.Messages != 1 {
		return fmt.Errorf("%d messages instead of one", a.scan.Messages)
	}
	message := f.buf[grpcweb.HeadLen:]
	if f.buf[0]&grpcweb.FlagCompressed == 0 {
		f.coding = ""
	}
	if f.json == nil {
		f.buf = message
		return nil
	}
	frames := transcode.Frames{Max: f.max, Gzip: f.coding == "gzip"}
	var out []byte
	err := frames.Write(f.buf, func(plain []byte) error {
		var err error
		out, err = f.json.AppendJSON(make([]byte, 0, 2*len(plain)), plain)
		return err
	})
	f.buf, f.coding = out, ""
	return err
}

// end implements answerForm.
func (f *connectUnary) end(a *grpcAnswer, st *grpcweb.Status, trailers http.Header) {
	if a.headOnly() {
		a.head = nil
	}
	h := a.copyHead()
	dropGRPC(h)
	transcode.AnswerHeader(h, withoutOwn(a, trailers), trailerPrefix, nil, nil)
	h["X-Content-Type-Options"] = []string{"nosniff"}
	status, body := http.StatusOK, f.buf
	if st.Code == transcode.OK {
		h["Content-Type"] = []string{unaryType + f.codec}
		if f.coding != "" {
			h["Content-Encoding"] = []string{f.coding}
		}
	} else {
		status, body = a.httpStatus(st), st.AppendError(nil)
		h["Content-Type"] = []string{"application/json"}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	a.client.WriteHeader(status)
	if _, err := a.client.Write(body); err != nil {
		a.x.ClientFailed(err)
	}
}

// withoutOwn are the trailers of the service: what the gateway says by itself is in
// its head.
func withoutOwn(a *grpcAnswer, trailers http.Header) http.Header {
	if a.x.Err != nil {
		return nil
	}
	return trailers
}

// connectStream hands messages on as they come.
type connectStream struct {
	client http.ResponseWriter
	codec  string
	json   *transcode.Codec
	max    int
	frames transcode.Frames // for JSON
	out    []byte
}

// begin implements answerForm.
func (f *connectStream) begin(a *grpcAnswer) bool {
	h := a.copyHead()
	coding := a.head.Get("Grpc-Encoding")
	f.frames = transcode.Frames{Max: f.max, Gzip: coding == "gzip"}
	dropGRPC(h)
	h["Content-Type"] = []string{streamType + f.codec}
	if f.json == nil && coding != "" && coding != "identity" {
		h["Connect-Content-Encoding"] = []string{coding}
	}
	f.client.WriteHeader(http.StatusOK)
	return true
}

// write implements answerForm.
func (f *connectStream) write(p []byte) error {
	if f.json == nil {
		_, err := f.client.Write(p)
		return err
	}
	var gone error
	err := f.frames.Write(p, func(message []byte) error {
		out, err := f.json.AppendJSON(grpcweb.AppendHead(f.out[:0], 0, 0), message)
		f.out = out
		if err != nil {
			return err
		}
		grpcweb.AppendHead(out[:0], 0, len(out)-grpcweb.HeadLen)
		_, gone = f.client.Write(out)
		return gone
	})
	if err != nil && gone == nil {
		return fmt.Errorf("%w: %w", errAnswerForm, err)
	}
	return err
}

// flush implements answerForm.
func (f *connectStream) flush() error { return http.NewResponseController(f.client).Flush() }

// complete implements answerForm.
func (f *connectStream) complete(*grpcAnswer) error { return nil }

// end implements answerForm.
func (f *connectStream) end(a *grpcAnswer, st *grpcweb.Status, trailers http.Header) {
	metadata := make(http.Header)
	transcode.AnswerHeader(metadata, withoutOwn(a, trailers), "", nil, nil)
	if !a.begun {
		if a.headOnly() {
			a.head = nil
		}
		f.begin(a)
	}
	if _, err := f.client.Write(st.AppendEnd(nil, metadata)); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		a.x.ClientFailed(err)
	}
}
