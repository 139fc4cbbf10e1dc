package proxy

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/splice"
)

// maxInterim bounds the 1xx answers to one request.
const maxInterim = 5

// dispatcher is the transport of all requests: it goes to the cluster of each
// exchange, and lets no answer pass that a client should not see.
type dispatcher struct{}

// RoundTrip implements http.RoundTripper.
func (dispatcher) RoundTrip(r *http.Request) (*http.Response, error) {
	s := relayOf(r)
	if s.x.Cluster == nil {
		return nil, &gateway.Error{
			Status: http.StatusInternalServerError, Reason: "no_upstream",
			Msg: "this route leads nowhere", Cause: gateway.CauseGateway,
		}
	}
	// ReverseProxy has made this trace for this request a moment ago. Its own
	// hook passes on any number of interim answers, 100 among them, which
	// net/http sends too; and it empties the header afterwards, in which
	// middlewares may have left something for the final answer.
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.Got1xxResponse = s.passInterim
	}
	res, err := s.x.Cluster.RoundTrip(r)
	s.mu.Lock()
	s.final = true
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := s.accept(res); err != nil {
		_ = res.Body.Close() // it is not used
		return nil, err
	}
	return res, nil
}

// passInterim handles a 1xx answer: only 103 Early Hints goes to the client. The
// error ends the round trip.
func (s *relay) passInterim(status int, hints textproto.MIMEHeader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final {
		return nil
	}
	s.interim++
	if s.interim > maxInterim {
		return tooManyInterim()
	}
	if status != http.StatusEarlyHints || !s.in.ProtoAtLeast(1, 1) {
		return nil
	}
	h := s.w.Header()
	kept := maps.Clone(h)
	clear(h)
	maps.Copy(h, http.Header(hints))
	dropHopByHop(h)
	s.w.ResponseWriter.WriteHeader(status)
	clear(h)
	maps.Copy(h, kept)
	return nil
}

func dropHopByHop(h http.Header) {
	for name := range grammar.Elements(h["Connection"]) {
		h.Del(name)
	}
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length"} {
		delete(h, name)
	}
}

// accept checks the head of an answer and makes it fit for the client.
func (s *relay) accept(res *http.Response) error {
	if err := s.x.ClientError(); err != nil {
		return err // whatever this answers, it is not the request that was meant
	}
	h := res.Header
	if res.StatusCode == http.StatusSwitchingProtocols {
		if !s.upgrade {
			return badAnswer("unsolicited_upgrade")
		}
		s.x.Streaming()
		s.x.Status = res.StatusCode // ReverseProxy writes this head to the socket itself
		return nil
	}
	if gateway.IsGRPC(s.in) || isEventStream(h) {
		s.x.Streaming()
	}
	if res.StatusCode < 200 || res.StatusCode > 999 {
		return badAnswer("bad_status") // net/http panics on some of these
	}
	if s.x.Pages != nil && res.StatusCode >= http.StatusBadRequest && !gateway.IsGRPC(s.in) && !isEventStream(h) {
		s.replace(res)
	}
	protectEndToEnd(h)
	if s.x.Scheme == "http" {
		delete(h, "Strict-Transport-Security") // RFC 6797 section 7.2
	}
	if _, ok := h["Content-Type"]; !ok {
		s.w.Header()["Content-Type"] = nil // net/http would guess one
		if bodyAllowed(res.StatusCode) {
			h["X-Content-Type-Options"] = []string{"nosniff"} // and so would a browser
		}
	}
	if len(res.Trailer) > 0 {
		s.answer.announced = maps.Clone(res.Trailer)
	}
	s.answer.s, s.answer.body, s.answer.res = s, res.Body, res
	res.Body = &s.answer
	return nil
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func isEventStream(h http.Header) bool {
	ct := h["Content-Type"]
	if len(ct) == 0 {
		return false
	}
	base, _, _ := strings.Cut(ct[0], ";")
	return strings.EqualFold(strings.TrimSpace(base), "text/event-stream")
}

// endToEnd are headers that say something to the client itself, often something
// that protects it. RFC 9110 section 7.6.1 forbids to name such a header in
// Connection, which would make the gateway remove it.
var endToEnd = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range []string{
		"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
		"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cache-Control", "Clear-Site-Data",
		"Content-Disposition", "Content-Encoding", "Content-Length", "Content-Range", "Content-Security-Policy",
		"Content-Type", "Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy",
		"Etag", "Expires", "Location", "Permissions-Policy", "Referrer-Policy", "Set-Cookie",
		"Strict-Transport-Security", "Vary", "Www-Authenticate", "X-Content-Type-Options", "X-Frame-Options",
	} {
		m[name] = true
	}
	return m
}()

// protectEndToEnd takes end-to-end headers out of Connection.
func protectEndToEnd(h http.Header) {
	lists, ok := h["Connection"]
	if !ok {
		return
	}
	var keep []string
	for name := range grammar.Elements(lists) {
		if name = http.CanonicalHeaderKey(name); !endToEnd[name] {
			keep = append(keep, name)
		}
	}
	h["Connection"] = keep
}

// answer is the body of an upstream's answer. It remembers why it broke, and
// takes the trailers away from ReverseProxy, which adds them to headers of the
// same name.
type answer struct {
	s         *relay
	body      io.ReadCloser
	res       *http.Response
	failed    error
	announced http.Header // the names only
	trailer   http.Header
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	if err := a.splice(); err != nil {
		return 0, err
	}
	n, err := a.body.Read(p)
	if err != nil && err != io.EOF {
		a.failed = err
	}
	return n, err
}

// splice carries the rest of the body past ReverseProxy, if it may. It returns what
// Read is to return, and nil if nothing was carried.
func (a *answer) splice() error {
	src, ok := a.body.(splice.Source)
	if !ok {
		return nil
	}
	left := src.Piped()
	if left == 0 {
		return nil
	}
	dst := splice.SinkOf(a.s.w.ResponseWriter)
	if dst == nil || !dst.TakesPipe(left) {
		return nil
	}
	pipe := splice.Get()
	if pipe == nil {
		return nil
	}
	defer pipe.Free()
	for {
		n, err := src.ReadPipe(pipe)
		if n > 0 {
			if _, err := dst.WritePipe(pipe); err != nil {
				a.s.w.fail(err)
				return err
			}
		}
		if err != nil {
			if err != io.EOF { //nolint:errorlint // as io.Reader has it
				a.failed = err
			}
			return err
		}
	}
}

// Close implements io.Closer.
func (a *answer) Close() error {
	if a.s.body != nil && a.s.body.lingers() {
		// An HTTP/2 transport does not return from Close before it has got its
		// last read of the client's body back.
		a.s.flush()
	}
	err := a.body.Close()
	if a.res.Trailer != nil {
		a.trailer, a.res.Trailer = a.res.Trailer, nil
	}
	return err
}

// writeTrailers ends the answer. Announced trailers take the place of a header
// of the same name, which has been sent by now; others go by net/http's prefix.
func (s *relay) writeTrailers() {
	if len(s.answer.trailer) == 0 || s.w.own {
		return
	}
	// A short answer would get a length from net/http, and then no trailers.
	s.flush()
	h := s.w.Header()
	for name := range s.answer.announced {
		delete(h, name)
	}
	for name, values := range s.answer.trailer {
		if _, ok := s.answer.announced[name]; ok {
			h[name] = values
		} else if !framing[name] {
			h[http.TrailerPrefix+name] = values
		}
	}
}

// framing are headers that may not come after a body, RFC 9110 section 6.5.1.
// Announced ones are refused by net/http.
var framing = map[string]bool{
	"Connection": true, "Content-Length": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}
