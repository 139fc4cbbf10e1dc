package middleware

import (
	"context"
	"io"
	"net/http"
	"time"
)

// paceStep is how much time a piece of a slowed body stands for: small enough to look
// like a slow line, large enough not to be all timers.
const paceStep = 50 * time.Millisecond

// pace lets bytes pass at a rate.
type pace struct {
	ctx  context.Context
	rate int64 // bytes in a second
	next time.Time
}

// piece is how many of n bytes go at a time.
func (p *pace) piece(n int) int {
	return min(n, max(1, int(p.rate*int64(paceStep)/int64(time.Second))))
}

// wait is for n bytes that have passed or are about to. It is false if nobody waits
// for them any more.
func (p *pace) wait(n int) bool {
	now := time.Now()
	if p.next.Before(now) {
		p.next = now // what was not used is lost
	}
	p.next = p.next.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	return rest(p.ctx, p.next.Sub(now))
}

// slowed has the bodies of a request and its answer pass no faster than that.
func slowed(w http.ResponseWriter, r *http.Request, upload, download int64) (http.ResponseWriter, *http.Request) {
	if upload > 0 && r.Body != nil && r.Body != http.NoBody {
		out := r.WithContext(r.Context()) // the access log holds on to the one that came
		out.Body = &slowBody{r.Body, pace{ctx: r.Context(), rate: upload}}
		r = out
	}
	if download > 0 {
		w = &slowWriter{w, pace{ctx: r.Context(), rate: download}}
	}
	return w, r
}

// slowBody is the body of a request.
type slowBody struct {
	io.ReadCloser
	pace pace
}

// Read implements io.Reader.
func (b *slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:b.pace.piece(len(p))])
	if n > 0 && !b.pace.wait(n) && err == nil {
		err = context.Cause(b.pace.ctx)
	}
	return n, err
}

// slowWriter writes the body of an answer.
type slowWriter struct {
	http.ResponseWriter
	pace pace
}

// Unwrap is for http.ResponseController.
func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements http.ResponseWriter.
func (w *slowWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		piece := p[:w.pace.piece(len(p))]
		n, err := w.ResponseWriter.Write(piece)
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
		// A client is to see the pieces, not what a buffer makes of them.
		if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
			return written, err
		}
		if !w.pace.wait(n) {
			return written, context.Cause(w.pace.ctx)
		}
	}
	return written, nil
}
