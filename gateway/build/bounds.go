package build

import (
	"context"
	"net/http"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

var (
	errTimeout  = &gateway.Error{Status: 504, Reason: "timeout", Msg: "the request took too long", Cause: gateway.CauseUpstream}
	errTooLarge = &gateway.Error{Status: 413, Reason: "body_too_large", Msg: "the body is larger than this route allows", Cause: gateway.CauseClient, Close: true}
)

// withBounds applies the route's limits of duration and body size. gRPC has
// neither, and a timeout of 0 is none. Otherwise it is lifted as soon as the answer turns out to be a stream; a
// request for one that has no body is trusted from the start, because some
// services send no head before the first event. With a body it is not: a header
// would be enough to tie an upstream up for as long as an upload can take.
func withBounds(next http.Handler, r *config.Route) http.Handler {
	timeout, limit := r.Timeout, int64(r.BodyLimit)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case gateway.IsGRPC(r):
			next.ServeHTTP(w, r)
			return
		case r.ContentLength > limit:
			gateway.Fail(w, r, errTooLarge) // before a byte goes upstream
			return
		case r.ContentLength < 0:
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		case r.ContentLength == 0 && gateway.IsStream(r):
			next.ServeHTTP(w, r)
			return
		}
		if timeout == 0 {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		timer := time.AfterFunc(timeout, func() { cancel(errTimeout) })
		defer timer.Stop()
		x := gateway.ExchangeOf(r)
		x.Deadline = x.Start.Add(timeout)
		x.OnStream(func() { timer.Stop() })
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
