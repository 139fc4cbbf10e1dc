package middleware

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/grpcweb"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/transcode"
)

func init() {
	kind.Add(Kinds, "grpc_web", GRPCWebConfig{MaxMessage: 4 * kind.MiB}, newGRPCWeb)
}

// GRPCWebConfig lets browsers call a gRPC service by gRPC-Web, in its binary form
// and as text (base64). Everything else passes as it is.
//
//	grpc_web: {}
//
// What follows in the chain sees a gRPC call. Errors of the blocks before are HTTP
// answers, which clients understand too. Pages of other origins need a `cors` block
// before this one, which allows the headers content-type, x-grpc-web, x-user-agent
// and grpc-timeout; the status is in the body in any case, so that it need not be
// exposed. Streams of clients pass too, as far as a client can send them; `timeout`
// of the route holds until an answer begins, and `body_limit` for the whole of what
// a client sends. The upstream must speak HTTP/2.
type GRPCWebConfig struct {
	// MaxMessage is the largest message, in either direction, as it is sent. No
	// message is kept in memory. At most 256MiB. Default: 4MiB.
	MaxMessage kind.Size `yaml:"max_message"`
}

// Validate checks the limit.
func (c GRPCWebConfig) Validate() error { return checkMaxMessage(c.MaxMessage) }

func checkMaxMessage(size kind.Size) error {
	if size < 1 || size > maxTranscodedMessage {
		return kind.At("max_message", "%s is not from 1B to %s", size, maxTranscodedMessage)
	}
	return nil
}

func newGRPCWeb(c GRPCWebConfig, env Env) (gateway.Step, error) {
	if err := speaksHTTP2(env.To); err != nil {
		return gateway.Step{}, err
	}
	m := &grpcWeb{max: int(c.MaxMessage)}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

type grpcWeb struct{ max int }

const grpcWebType = "application/grpc-web"

// webType takes a media type of gRPC-Web apart. codec is what stands behind the plus.
func webType(ct string) (text bool, codec string, ok bool) {
	ct, _, _ = strings.Cut(ct, ";")
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(ct)), grpcWebType)
	if !ok {
		return false, "", false
	}
	rest, text = strings.CutPrefix(rest, "-text")
	if rest == "" {
		return text, "", true
	}
	codec, ok = strings.CutPrefix(rest, "+")
	return text, codec, ok && grammar.IsToken(codec)
}

func (m *grpcWeb) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, codec, ok := webType(r.Header.Get("Content-Type"))
		if !ok || r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		m.serve(w, r, next, text, codec)
	})
}

func (m *grpcWeb) serve(w http.ResponseWriter, r *http.Request, next http.Handler, text bool, codec string) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	header := maps.Clone(r.Header)
	for _, name := range [...]string{"X-Grpc-Web", "Connect-Protocol-Version"} {
		delete(header, name)
	}
	out := outboundCall(ctx, r, header, codec)
	a := &grpcAnswer{x: gateway.ExchangeOf(r), out: out, client: w, cancel: cancel, form: newWebForm(w, r, text, codec)}
	a.scan.Max = m.max
	a.limit, _ = transcode.ParseTimeout(r.Header.Get("Grpc-Timeout")) // a malformed one is the service's to judge
	err := refuseCoding(r)
	if err == nil {
		a.body, err = newGRPCBody(w, r)
	}
	if err != nil {
		a.body, next = &grpcBody{}, failing(err)
	} else {
		out.ContentLength = r.ContentLength
		if text {
			a.body.frames, out.ContentLength = &grpcweb.TextReader{In: a.body.src}, -1
		}
		a.body.frames = &scanReader{in: a.body.frames, scan: grpcweb.Scanner{Max: m.max, Compressed: true}}
		out.Body = a.body
	}
	serveCall(a, next)
}

// failing answers every call with err.
func failing(err error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gateway.Fail(w, r, err) })
}

// refuseCoding refuses a body that is compressed as a whole: messages are, by themselves.
func refuseCoding(r *http.Request) error {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return &gateway.Error{
			Status: http.StatusUnsupportedMediaType, Reason: "grpc_encoding", Msg: "a body with a content-encoding is not taken; compress its messages",
			Cause: gateway.CauseClient, GRPC: int(transcode.Unimplemented),
		}
	}
	return nil
}

func (m *grpcWeb) explain(r *http.Request, _ *gateway.Exchange) string {
	text, _, ok := webType(r.Header.Get("Content-Type"))
	switch {
	case !ok || r.Method != http.MethodPost:
		return "is no gRPC-Web, and passes as it is"
	case text:
		return "turns gRPC-Web-Text into gRPC"
	}
	return "turns gRPC-Web into gRPC"
}

// webForm writes an answer of gRPC-Web.
type webForm struct {
	client      http.ResponseWriter
	text        *grpcweb.TextWriter // nil for the binary form
	contentType string
}

// newWebForm is in the form that the client accepts, by default that of its request.
func newWebForm(w http.ResponseWriter, r *http.Request, text bool, codec string) *webForm {
	if accept := strings.Join(r.Header["Accept"], ","); strings.Contains(accept, grpcWebType) {
		text = strings.Contains(accept, grpcWebType+"-text")
	}
	f := &webForm{client: w, contentType: grpcWebType}
	if text {
		f.text, f.contentType = &grpcweb.TextWriter{Out: w}, grpcWebType+"-text"
	}
	if codec != "" {
		f.contentType += "+" + codec
	}
	return f
}

// begin implements answerForm.
func (f *webForm) begin(a *grpcAnswer) bool {
	h := a.copyHead()
	h["Content-Type"] = []string{f.contentType}
	f.client.WriteHeader(http.StatusOK)
	return true
}

// write implements answerForm.
func (f *webForm) write(p []byte) error {
	var err error
	if f.text != nil {
		_, err = f.text.Write(p)
	} else {
		_, err = f.client.Write(p)
	}
	return err
}

// flush implements answerForm.
func (f *webForm) flush() error {
	if f.text != nil {
		if err := f.text.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(f.client).Flush()
}

// complete implements answerForm.
func (f *webForm) complete(*grpcAnswer) error { return nil }

// end implements answerForm. The status is in the body in any case, so that pages
// of other origins can read it.
func (f *webForm) end(a *grpcAnswer, st *grpcweb.Status, trailers http.Header) {
	metadata := make(http.Header)
	if !a.begun {
		if a.headOnly() {
			transcode.AnswerHeader(metadata, a.head, "", nil, nil)
			a.head = nil
		}
		f.begin(a)
	} else {
		transcode.AnswerHeader(metadata, trailers, "", nil, nil)
	}
	if trailers["Grpc-Status"] == nil {
		trailers = http.Header{"Grpc-Message": {grpcweb.EscapeMessage(st.Message)}}
	}
	err := f.write(st.AppendTrailers(nil, trailers, metadata))
	if err == nil && f.text != nil {
		err = f.text.Flush()
	}
	if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		a.x.ClientFailed(err)
	}
}
