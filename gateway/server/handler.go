package server

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/http1"
)

// entry is all that a request needs here, in one allocation.
type entry struct {
	x    gateway.Exchange
	w    response
	body body
}

// attach makes the server answer what comes to a front.
func (s *Server) attach(f *front) {
	f.handle(s.handler(f))
	f.pressure = s.pressure
	f.engine.Refuse = func(w http.ResponseWriter, r *http.Request, bad *http1.ClientError) {
		s.answer(f, w, r, func(w http.ResponseWriter, r *http.Request, _ *generation) {
			gateway.Fail(w, r, &gateway.Error{
				Status: bad.Status, Reason: bad.Reason, Msg: bad.Msg, Cause: gateway.CauseClient, Err: bad, Close: true,
			})
		})
	}
}

// handler is where the requests of a front enter.
func (s *Server) handler(f *front) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answer(f, w, r, func(w http.ResponseWriter, r *http.Request, g *generation) {
			if s.pressure.Refuses() {
				gateway.Fail(w, r, overloaded())
				return
			}
			g.snap.ServeHTTP(w, r)
		})
	})
}

// answer has a request answered by do, and takes note of all that becomes of it.
func (s *Server) answer(f *front, w http.ResponseWriter, r *http.Request, do func(http.ResponseWriter, *http.Request, *generation)) {
	c := connOfRequest(r)
	c.begin(r.ProtoMajor == 1)
	defer c.done()
	g := s.acquire(c.lane)
	defer g.release(c.lane)
	e := newEntry(f, c, w, r)
	e.w.entry, e.w.conn, e.w.kernel = e, c, s.kernel
	e.x.Spare = &s.spare
	if c.remote != "" {
		r.RemoteAddr = c.remote // for X-Forwarded-For, and for whom an upstream's connection is opened
	}
	r = gateway.WithExchange(r, &e.x)
	if r.Body != http.NoBody {
		r.Body = &e.body
	}
	defer s.finish(g, e, r)
	do(&e.w, r, g)
}

func newEntry(f *front, c *conn, w http.ResponseWriter, r *http.Request) *entry {
	e := &entry{}
	e.x.ID, e.x.Start, e.x.Listener = requestID(), time.Now(), f.name
	e.x.Client, e.x.LocalPort, e.x.Scheme = c.client, c.port, "http"
	if r.TLS != nil {
		e.x.Scheme = "https"
	}
	timed, limits := !gateway.IsGRPC(r), &f.listener.Timeouts
	e.w = response{
		ResponseWriter: w, x: &e.x, lame: &f.lame, pressure: f.pressure, aged: c.aged(e.x.Start), http1: r.ProtoMajor == 1,
		timed: timed && limits.WriteIdle > 0, idle: limits.WriteIdle, body: &e.body,
	}
	e.body.ReadCloser, e.body.w, e.body.length, e.body.press = r.Body, w, r.ContentLength, f.pressure
	e.body.timed, e.body.idle, e.body.rate = timed && limits.BodyIdle > 0, limits.BodyIdle, int64(limits.BodyRate)
	e.body.stall.of, e.w.stall.of = &e.body, &e.w
	return e
}

// finish ends an exchange: an answer when a handler panicked, one set of
// observations, one line in the access log.
func (s *Server) finish(g *generation, e *entry, r *http.Request) {
	p := recover()
	abort := aborted(p)
	if p != nil && !abort {
		s.panicked(e, r, p)
		abort = e.w.torn
	}
	if !e.w.wrote && !e.w.http1 && r.Context().Err() != nil && e.w.conn.resets.excessive() {
		e.w.conn.front.count.Refused(refusedResets)
		_ = e.w.conn.end() // what it still wants it has not waited for so far
	}
	if !e.w.wrote && !abort {
		// A client that left gets no answer, least of all an empty success.
		if abort = e.x.Status == gateway.StatusClientClosed; !abort {
			e.w.WriteHeader(http.StatusOK)
		}
	}
	end := time.Now()
	e.body.stall.finish()
	e.w.last(end)
	e.x.BytesIn, e.x.BytesOut = e.body.n.Load(), e.w.bytes
	if t := e.w.tunnel; t != nil {
		e.x.BytesIn, e.x.BytesOut = e.x.BytesIn+t.in.Load(), e.x.BytesOut+t.out.Load()
		e.x.UpstreamEnd = end // the life of a tunnel is not the gateway's time
	}
	if e.x.Status == 0 && r.Context().Err() != nil {
		e.x.Status = gateway.StatusClientClosed
	}
	route, ok := g.routes[e.x.Route]
	if !ok || e.x.Route == "" {
		route = g.routes[""]
		route.Begin()
	}
	e.dissect(r, route, end)
	route.End(&e.x, r.Method, end)
	g.log.Log(r, &e.x, end)
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// aborted says whether a panic is the wish to break off an answer, and no bug.
func aborted(p any) bool {
	err, ok := p.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// panicked answers 500 if nothing has been sent; otherwise the exchange is
// aborted, so that the client does not take a torn answer for a whole one.
func (s *Server) panicked(e *entry, r *http.Request, p any) {
	s.metrics.Panic()
	s.log.Error("panic while serving a request", "id", e.x.ID, "route", e.x.Route,
		"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	err := &gateway.Error{
		Status: http.StatusInternalServerError, Reason: "panic", Msg: "internal error",
		Cause: gateway.CauseGateway, Err: fmt.Errorf("panic: %v", p), Close: true,
	}
	if e.w.wrote {
		e.x.Err, e.w.torn = err, true
		return
	}
	gateway.Fail(&e.w, r, err)
}
