package middleware

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grpcweb"
	"github.com/pithead/pithead/gateway/transcode"
)

// grpcAnswer is the writer that takes the answer of a gRPC call for a client of
// another protocol: what comes in are a head, frames and trailers.
type grpcAnswer struct {
	x      *gateway.Exchange
	out    *http.Request // the call
	client http.ResponseWriter
	cancel context.CancelCauseFunc // ends the call
	body   *grpcBody
	form   answerForm
	scan   grpcweb.Scanner
	limit  time.Duration // of the client for the call; 0 is none

	start  time.Time
	header http.Header // what is being written: the head, then the trailers
	head   http.Header
	status int  // 0 before the head
	begun  bool // the client has got a head
	said   bool // and more
	failed *gateway.Error
}

// answerForm is how a protocol writes an answer to the client.
type answerForm interface {
	// begin says whether an answer with messages begins with this head, and
	// writes it. If not, write keeps the messages for end.
	begin(a *grpcAnswer) bool
	// write takes the next bytes of frames, whose heads are good.
	write(p []byte) error
	// flush gives the client what has been written.
	flush() error
	// complete is asked about the messages of a call that ended well.
	complete(a *grpcAnswer) error
	// end ends the answer, begun or not. trailers are nil when there came none.
	end(a *grpcAnswer, st *grpcweb.Status, trailers http.Header)
}

// limitGrace is how long after the client's limit the gateway itself ends a call:
// the service knows the same limit, and what it says of it is better.
const limitGrace = 100 * time.Millisecond

// errAnswerForm is in the error of write when the messages are at fault and not
// the client's connection.
var errAnswerForm = errors.New("the message does not fit its descriptor")

// serveCall sends a call on and answers the client in the form.
func serveCall(a *grpcAnswer, next http.Handler) {
	a.header, a.start = make(http.Header), time.Now()
	if a.limit > 0 {
		timer := time.AfterFunc(a.limit+limitGrace, func() { a.cancel(errGRPCTimeout) })
		defer timer.Stop()
	}
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value, as net/http compares it
			panic(p)
		}
		defer a.body.end()
		a.finish(p != nil)
	}()
	next.ServeHTTP(a, a.out)
}

// Header implements http.ResponseWriter.
func (a *grpcAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *grpcAnswer) WriteHeader(status int) {
	if status < http.StatusOK || a.status != 0 {
		return
	}
	a.status, a.head, a.header = status, a.header, make(http.Header)
	if status != http.StatusOK || a.head["Grpc-Status"] != nil {
		return // finish knows what to say
	}
	if !isGRPCType(a.head.Get("Content-Type")) {
		a.fail(errors.New("the content type of the answer is not application/grpc"))
		return
	}
	coding := a.head.Get("Grpc-Encoding")
	a.scan.Compressed = coding != "" && coding != "identity"
	a.begun = a.form.begin(a)
}

func isGRPCType(ct string) bool {
	rest, ok := strings.CutPrefix(ct, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// Write implements http.ResponseWriter. Whatever is wrong with the bytes is not
// the client's doing, so it ends the call without an error here.
func (a *grpcAnswer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.failed != nil || a.status != http.StatusOK || a.head["Grpc-Status"] != nil {
		return len(p), nil
	}
	a.said = true
	err := a.scan.Scan(p)
	if err == nil {
		if err = a.form.write(p); err != nil && !errors.Is(err, errAnswerForm) && !errors.Is(err, grpcweb.ErrTooLarge) {
			return 0, err
		}
	}
	if err != nil {
		a.fail(err)
	}
	return len(p), nil
}

// fail ends the call because of what the service has sent.
func (a *grpcAnswer) fail(err error) {
	a.failed = badGRPC(err)
	if errors.Is(err, grpcweb.ErrTooLarge) {
		a.failed.Reason, a.failed.Msg, a.failed.GRPC = "grpc_too_large", "the answer of the service is too large", int(transcode.ResourceExhausted)
	}
	a.cancel(a.failed)
}

func badGRPC(err error) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusBadGateway, Reason: "grpc_malformed", Msg: "the service did not give a valid answer",
		Cause: gateway.CauseUpstream, Err: err, GRPC: int(transcode.Internal),
	}
}

// FlushError is for http.ResponseController.
func (a *grpcAnswer) FlushError() error {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	// Clients of Connect break off a message that they are sending when they see a
	// head, and then lose what comes after it.
	if !a.begun || !a.said && a.body.sending() {
		return nil
	}
	return a.form.flush()
}

// SetReadDeadline is for http.ResponseController. The reads of the body are not
// those of the connection, and end otherwise.
func (a *grpcAnswer) SetReadDeadline(time.Time) error { return nil }

// finish gives the client its answer, or the end of it.
func (a *grpcAnswer) finish(aborted bool) {
	err := cmp.Or(a.failed, a.x.Err)
	if aborted && err == nil {
		err = &gateway.Error{Status: http.StatusBadGateway, Reason: "upstream_truncated", Msg: "the service broke off its answer", Cause: gateway.CauseUpstream}
	}
	if err != nil && err.Status == gateway.StatusClientClosed {
		a.x.Err = err
		panic(http.ErrAbortHandler)
	}
	if err != nil && a.limit > 0 && time.Since(a.start) >= a.limit && (err.Cause == gateway.CauseUpstream || err.Cause == gateway.CauseNetwork) {
		// Many services break a call off when its time is over.
		err, a.failed = errGRPCTimeout, errGRPCTimeout
	}
	var st grpcweb.Status
	trailers := trailersOf(a.head, a.header)
	if !aborted && a.failed == nil {
		err = a.verdict(&st, trailers)
	}
	if err != nil {
		a.x.Err, trailers = err, nil
		st = grpcweb.Status{Code: transcode.Code(cmp.Or(err.GRPC, int(transcode.CodeOf(err.Status)))), Message: err.Msg}
		if !a.begun {
			a.header, a.status = make(http.Header), 0
			gateway.Fail(a, a.out, err)
		}
	}
	a.form.end(a, &st, trailers)
}

// verdict is how a call that has come to its end has ended.
func (a *grpcAnswer) verdict(st *grpcweb.Status, trailers http.Header) *gateway.Error {
	if a.status != http.StatusOK {
		*st = grpcweb.Status{Code: transcode.CodeOfAnswer(a.status), Message: "the service answers " + strconv.Itoa(a.status)}
		return nil
	}
	var ok bool
	if *st, ok = grpcweb.ReadStatus(trailers); !ok {
		return badGRPC(errors.New("the answer has no grpc-status"))
	}
	if err := a.scan.End(); err != nil {
		return badGRPC(err)
	}
	if st.Code == transcode.OK {
		if err := a.form.complete(a); err != nil {
			return badGRPC(err)
		}
	}
	return nil
}

// trailersOf are what came after the body, or a head that is all there is.
func trailersOf(head, after http.Header) http.Header {
	if head["Grpc-Status"] != nil {
		return head
	}
	t := make(http.Header, len(after))
	for name, values := range after {
		t[http.CanonicalHeaderKey(strings.TrimPrefix(name, http.TrailerPrefix))] = values
	}
	return t
}

// httpStatus is the status of an answer that is nothing but an error. Those of
// the gateway have one of their own, and so has a service that answers in plain HTTP.
func (a *grpcAnswer) httpStatus(st *grpcweb.Status) int {
	switch {
	case a.x.Err != nil:
		return a.x.Err.Status
	case a.status >= http.StatusBadRequest:
		return a.status
	}
	return st.Code.HTTP()
}

// headOnly says that the answer of the service was nothing but a head, so that
// what is in it are trailers. Those of the gateway are headers in any case.
func (a *grpcAnswer) headOnly() bool { return a.head["Grpc-Status"] != nil && a.x.Err == nil }

// ofCall are headers of an answer that say nothing true of what the client gets.
var ofCall = [...]string{"Content-Type", "Content-Length", "Content-Encoding", "Trailer", "Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"}

// copyHead copies the head to the client, except what belongs to the call.
func (a *grpcAnswer) copyHead() http.Header {
	h := a.client.Header()
	for name, values := range a.head {
		h[name] = append(h[name], values...)
	}
	for _, name := range ofCall {
		delete(h, name)
	}
	if a.body.unread() {
		h["Connection"] = []string{"close"} // nobody knows where the next request would begin
	}
	return h
}

// outboundCall is the call that goes upstream, with the path of r and without its body.
func outboundCall(ctx context.Context, r *http.Request, header http.Header, codec string) *http.Request {
	out := r.WithContext(ctx)
	out.Method, out.Proto, out.ProtoMajor, out.ProtoMinor = http.MethodPost, "HTTP/2.0", 2, 0
	out.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
	for _, name := range [...]string{
		"Accept", "Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Expect", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		delete(header, name)
	}
	ct := "application/grpc"
	if codec != "" {
		ct += "+" + codec
	}
	header["Content-Type"], header["Te"] = []string{ct}, []string{"trailers"}
	out.Header = header
	out.TransferEncoding, out.Trailer, out.Body, out.ContentLength = nil, nil, http.NoBody, 0
	return out
}
