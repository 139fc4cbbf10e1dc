package anatomy

import (
	"time"

	"github.com/pithead/pithead/gateway"
)

// Client is what is known of the client's side of a request.
type Client struct {
	By       gateway.Measurer // of what follows
	Arrived  time.Time        // the first byte of the request; only with By
	Queue    time.Duration    // the request lay unread
	HeadSend time.Duration    // from the first to the last byte of a request without a body
	Accept   time.Duration    // how long the connection waited to be accepted; 0 when not known

	BodySend time.Duration // waited for more of the body
	Drain    time.Duration // waited until the client took more of the answer
}

// Shape says what may be asked of the client's connection.
type Shape struct {
	Bodyless bool // the request has no body
	Secure   bool // TLS
	Shared   bool // HTTP/2: the connection carries several requests at a time
}

// slack is what two readings of a clock may be apart because something came between.
const slack = 50 * time.Microsecond

// Client asks the kernel about a request that is being answered, and adds what it
// says to c.
func (k *Kernel) Client(s *Socket, start time.Time, shape Shape, c *Client) {
	if k == nil || shape.Shared {
		return
	}
	var r Reading
	if k.Read(s, &r) {
		k.probed(&r, start, shape, c)
		return
	}
	var i Info
	if shape.Bodyless && s.Info(&i) {
		now := time.Now()
		if arrived := now.Add(-i.LastReceived); start.Sub(arrived) >= tick {
			c.By, c.Arrived, c.Queue = gateway.ByTCPInfo, arrived, start.Sub(arrived)
		}
	}
}

// probed takes what the probe knows. The handshake of TLS looks like a request,
// so that the first one after it cannot be told from it; and a request that began
// after this one was read is the next one.
func (*Kernel) probed(r *Reading, start time.Time, shape Shape, c *Client) {
	if r.Has(Connection) || r.Has(Held) || shape.Secure && r.Requests < 2 || r.FirstIn == 0 {
		return
	}
	arrived := r.When(r.FirstIn)
	if arrived.After(start) {
		return
	}
	c.By, c.Arrived, c.Queue = gateway.ByProbe, arrived, r.QueueFirst
	if shape.Bodyless {
		c.Queue = r.QueueSum
		c.HeadSend, _ = Between(r.FirstIn, r.LastIn)
	}
	if r.Has(Accepted) && r.Requests == 1 {
		c.Accept = r.AcceptWait
	}
}

// Upstream asks the kernel about the connection of an attempt whose answer has just
// begun; begun is when the connection was there.
func (k *Kernel) Upstream(s *Socket, begun, head time.Time, shape Shape, u *gateway.UpstreamSocket) {
	if k == nil {
		return
	}
	var i Info
	if !s.Info(&i) {
		return
	}
	u.RoundTrip = i.MinRTT
	if shape.Shared {
		return
	}
	waited := head.Sub(begun)
	if late := waited - i.LastSent; shape.Bodyless && i.Retransmits > 0 && late >= 100*time.Millisecond {
		u.Lost = late // no retransmit comes earlier
	}
	if shape.Secure {
		return // tickets that follow the handshake look like an answer
	}
	var r Reading
	if k.Read(s, &r) && !r.Has(Connection) {
		// Nobody but this attempt may have used it since: a connection whose answer has
		// no body is free before the attempt knows of it.
		own := !r.When(r.FirstOut).Before(begun.Add(-slack)) && !r.When(r.FirstIn).After(head.Add(slack))
		if kernel, ok := Between(r.FirstOut, r.FirstIn); ok && own {
			u.By, u.Queue, u.Kernel = gateway.ByProbe, r.QueueFirst, kernel
			return
		}
	}
	if i.LastReceived >= tick && i.LastReceived <= waited {
		u.By, u.Queue = gateway.ByTCPInfo, i.LastReceived
	}
}

// Drained says how long after ended the peer had everything that was written, and
// whether that has happened. requests is how many had begun at that time, 0 without
// a probe: a next one begins when the client has its answer.
func (k *Kernel) Drained(s *Socket, ended time.Time, requests uint32) (after time.Duration, done bool) {
	var r Reading
	if requests > 0 && k.Read(s, &r) {
		switch {
		case r.Requests != requests:
			return 0, true
		case r.Acked == 0 || r.LastOut == 0:
			return time.Since(ended), false
		}
		return max(r.When(r.Acked).Sub(ended), 0), true
	}
	var i Info
	if !s.Info(&i) {
		return 0, true // it is closed, and nobody can say
	}
	if !i.Drained() {
		return time.Since(ended), false
	}
	return max(time.Since(ended)-i.LastAcked, 0), true
}
