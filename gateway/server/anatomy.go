package server

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/anatomy"
	"github.com/pithead/pithead/gateway/obs"
)

// A write to a client counts as waiting for it only if it took longer than copying
// does, and only once more was written than any buffer of the system holds.
const (
	buffered = 16 << 10
	copying  = 200 * time.Microsecond
)

// shape says what the kernel may be asked of the connection of an entry.
func (e *entry) shape() anatomy.Shape {
	return anatomy.Shape{
		Bodyless: e.body.length == 0 && e.w.tunnel == nil, Secure: e.x.Scheme == "https" && e.w.conn.front.listener.TLS != nil, Shared: !e.w.http1,
	}
}

// client is what is known of the client's side up to now.
func (e *entry) client() (c anatomy.Client) {
	c.BodySend, c.Drain = time.Duration(e.body.asked.Load()), e.w.blocked
	e.w.kernel.Client(&e.w.conn.kernel, e.x.Start, e.shape(), &c)
	return c
}

// name says to the kernel what the client's connection is used for. It is called
// before the first byte of an answer, when all of that is known.
func (w *response) name(status int) {
	x, s := w.x, &w.conn.kernel
	switch {
	case !w.http1:
		w.kernel.Use(s, x.Start, "", "", "", anatomy.TagConnection)
	case status == http.StatusSwitchingProtocols:
		w.kernel.UseFor(s, x.Start, x.Route, x.Arm, "", anatomy.TagConnection, 0)
	case x.Anatomy.Sampled:
		w.kernel.UseFor(s, x.Start, x.Route, x.Arm, "", 0, anatomy.Number(x.ID))
	default:
		w.kernel.Use(s, x.Start, x.Route, x.Arm, "", 0)
	}
}

// tell adds the phases so far to the head of an answer.
func (w *response) tell() {
	e := w.entry
	c := anatomy.Client{BodySend: time.Duration(e.body.asked.Load()), Drain: w.blocked}
	if w.x.Anatomy.Sampled {
		c = e.client()
	}
	anatomy.Settle(w.x, &c, time.Now())
	w.Header().Add("Server-Timing", anatomy.ServerTiming(w.x))
	w.x.Anatomy.Known = false // there is more to come
}

// tellEnd adds all phases after the answer for a client that takes trailers.
func (w *response) tellEnd(r *http.Request) {
	if w.x.Told() && w.wrote && w.tunnel == nil && !w.torn && takesTrailers(r) {
		w.Header().Add(http.TrailerPrefix+"Server-Timing", anatomy.ServerTiming(w.x))
	}
}

// takesTrailers says whether the client has said so, RFC 9110 section 6.5.1.
func takesTrailers(r *http.Request) bool {
	return slices.Contains(r.Header["Te"], "trailers")
}

// dissect finds out where the time of a request went, if somebody wants to know.
func (e *entry) dissect(r *http.Request, route *obs.Route, end time.Time) {
	x := &e.x
	if x.Anatomy.Watch == nil {
		return
	}
	if e.w.tunnel != nil && !x.UpstreamHeaders.IsZero() {
		end = x.UpstreamHeaders // how long the two talk after that makes no request slow
	}
	told := x.Told()
	if !x.Anatomy.Sampled && !told && !x.Anatomy.Slow(end.Sub(x.Start)) && !anatomy.Failed(x) {
		return
	}
	c := e.client()
	anatomy.Settle(x, &c, end)
	x.Anatomy.Verdict = anatomy.Judge(x)
	if told {
		e.w.tellEnd(r)
	}
	if x.Anatomy.Sampled && e.w.http1 && e.w.tunnel == nil {
		follow(e, route, end)
	}
}

// What a client has acknowledged this soon it may have had long before: it may wait
// that long with an acknowledgement.
const delayedAck = 45 * time.Millisecond

// Between the looks at a connection that has not drained the time doubles.
const (
	firstLook = delayedAck + 15*time.Millisecond
	lastLook  = 30 * time.Second
	maxTails  = 1024
)

// tail is the end of an answer that the client has yet to get. The time until then
// is known only when the exchange has long ended, and counts in the metrics alone.
type tail struct {
	kernel        *anatomy.Kernel
	socket        *anatomy.Socket
	route         *obs.Route
	upstream, arm string
	blocked       time.Duration // before the exchange ended
	ended         time.Time
	requests      uint32
	after         time.Duration
	timer         *time.Timer
}

var tails atomic.Int64

// follow looks at the connection of e until it has drained.
func follow(e *entry, route *obs.Route, end time.Time) {
	if tails.Add(1) > maxTails {
		tails.Add(-1)
		return
	}
	t := &tail{
		kernel: e.w.kernel, socket: &e.w.conn.kernel, route: route, upstream: e.x.Upstream, arm: e.x.Arm,
		blocked: e.w.blocked, ended: end, after: firstLook,
	}
	var r anatomy.Reading
	if t.kernel.Read(t.socket, &r) {
		t.requests = r.Requests
	}
	e.x.Anatomy.Followed = true
	t.timer = time.AfterFunc(t.after, t.look)
}

func (t *tail) look() {
	drained, done := t.kernel.Drained(t.socket, t.ended, t.requests)
	if !done && t.after < lastLook {
		t.after *= 2
		t.timer.Reset(t.after)
		return
	}
	if drained < delayedAck {
		drained = 0
	}
	t.route.Drained(t.upstream, t.arm, t.blocked+drained)
	tails.Add(-1)
}
