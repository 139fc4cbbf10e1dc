package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

func init() { kind.Add(Kinds, "fault", FaultConfig{MaxActive: 1000}, newFault) }

// The faults, in metrics and in the names of headers.
const (
	faultDelay     = "delay"
	faultAbort     = "abort"
	faultReset     = "reset"
	faultBandwidth = "bandwidth"
)

// faultHeaders are the headers by which callers ask for faults.
var faultHeaders = []string{"X-Fault-Delay", "X-Fault-Abort", "X-Fault-Reset", "X-Fault-Bandwidth"}

// faultReason is the reason of errors that are wanted.
const faultReason = "fault_injected"

// fault is the running middleware. It never changes after newFault.
type fault struct {
	config  FaultConfig
	allowed addrSet
	active  *atomic.Int64
	metrics func() *obs.Route
}

func newFault(c FaultConfig, env Env) (gateway.Step, error) {
	if c.Only != nil {
		for i, name := range c.Only.Upstreams {
			if _, ok := env.Upstream(name); !ok {
				return gateway.Step{}, kind.At(fmt.Sprintf("only.upstreams[%d]", i), "unknown upstream %q", name)
			}
		}
	}
	active, err := keep.Get(env.Keep, "fault/"+env.Key, func() (*atomic.Int64, error) { return new(atomic.Int64), nil })
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	m := &fault{config: c, active: active, metrics: env.Metrics}
	if c.Headers != nil {
		m.allowed = newAddrSet(c.Headers.AllowFrom)
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

// fate is what is to become of a request.
type fate struct {
	delay            time.Duration
	abort            int // 0: none
	reset            bool
	upload, download int64 // bytes in a second; 0: no limit
}

// fate draws what is to become of a request.
func (m *fault) fate(r *http.Request, x *gateway.Exchange) (f fate) {
	if o := m.config.Only; o != nil &&
		(len(o.Arms) > 0 && !slices.Contains(o.Arms, x.Arm) || len(o.Upstreams) > 0 && !slices.Contains(o.Upstreams, x.Upstream)) {
		return f
	}
	c := &m.config
	if d := c.Delay; d != nil && struck(x.ID, faultDelay, d.Percent) {
		f.delay = cmp.Or(d.Fixed, d.Min+time.Duration(lot(x.ID, "time")*float64(d.Max-d.Min)))
	}
	if c.Abort != nil && struck(x.ID, faultAbort, c.Abort.Percent) {
		f.abort = c.Abort.Status
	}
	f.reset = c.Reset != nil && struck(x.ID, faultReset, c.Reset.Percent)
	if b := c.Bandwidth; b != nil && struck(x.ID, faultBandwidth, b.Percent) {
		f.upload, f.download = int64(b.Upload), int64(b.Download)
	}
	if c.Headers != nil && m.mayAsk(x.Client) {
		m.asked(r.Header, &f)
	}
	return f
}

func (m *fault) mayAsk(client netip.Addr) bool { return client.IsValid() && m.allowed.contains(client) }

// asked adds the faults that the caller wants. What cannot be read is not wanted.
func (m *fault) asked(h http.Header, f *fate) {
	if d, err := time.ParseDuration(h.Get(faultHeaders[0])); err == nil && d > 0 {
		f.delay = min(d, m.config.Headers.MaxDelay)
	}
	if status, err := strconv.Atoi(h.Get(faultHeaders[1])); err == nil && status >= 400 && status <= 599 {
		f.abort = status
	}
	if wanted, err := strconv.ParseBool(h.Get(faultHeaders[2])); err == nil && wanted {
		f.reset = true
	}
	var rate kind.Size
	if err := rate.UnmarshalText([]byte(h.Get(faultHeaders[3]))); err == nil && rate >= minFaultRate {
		f.upload, f.download = int64(rate), int64(rate)
	}
}

// lot is a number from 0 to 1 that a request has drawn for some purpose.
func lot(id, purpose string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose)) // cannot fail
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(id))
	n := h.Sum64()
	n ^= n >> 33 // FNV leaves the upper bits of short texts close to each other
	n *= 0xff51afd7ed558ccd
	n ^= n >> 33
	return float64(n>>11) / (1 << 53)
}

func struck(id, purpose string, percent float64) bool {
	return percent > 0 && lot(id, purpose)*100 < percent
}

func (m *fault) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		f := m.fate(r, x)
		for _, name := range faultHeaders {
			if len(r.Header[name]) > 0 {
				x.DropUpstreamHeader(name)
			}
		}
		if f.delay > 0 || f.upload > 0 || f.download > 0 {
			if m.active.Add(1) > int64(m.config.MaxActive) {
				f.delay, f.upload, f.download = 0, 0, 0
			}
			defer m.active.Add(-1)
		}
		m.inflict(w, r, next, f)
	})
}

func (m *fault) inflict(w http.ResponseWriter, r *http.Request, next http.Handler, f fate) {
	if f.delay > 0 {
		m.metrics().Injected(faultDelay)
		if !rest(r.Context(), f.delay) {
			gateway.Fail(w, r, endedIn(r.Context()))
			return
		}
	}
	switch {
	case f.reset:
		m.metrics().Injected(faultReset)
		reset(w, r)
		return
	case f.abort != 0:
		m.metrics().Injected(faultAbort)
		gateway.Fail(w, r, m.aborted(f.abort))
		return
	}
	if f.upload > 0 || f.download > 0 {
		m.metrics().Injected(faultBandwidth)
		w, r = slowed(w, r, f.upload, f.download)
	}
	next.ServeHTTP(w, r)
}

func (m *fault) aborted(status int) *gateway.Error {
	e := &gateway.Error{Status: status, Reason: faultReason, Msg: "this error was asked for, as a test", Cause: gateway.CauseGateway}
	if a := m.config.Abort; a != nil && a.GRPC != "" {
		e.GRPC = a.GRPC.number()
	}
	return e
}

// rest waits, and is false if ctx ends before.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// endedIn is why a request has ended while it was kept here.
func endedIn(ctx context.Context) *gateway.Error {
	if e, ok := errors.AsType[*gateway.Error](context.Cause(ctx)); ok {
		return e
	}
	return &gateway.Error{
		Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: ctx.Err(), Close: true,
	}
}

// reset breaks the connection of an HTTP/1 client off in a way that it notices, and the
// stream of others.
func reset(w http.ResponseWriter, r *http.Request) {
	gateway.ExchangeOf(r).Err = &gateway.Error{Status: gateway.StatusClientClosed, Reason: faultReason, Msg: "the connection was reset as a test", Cause: gateway.CauseGateway}
	if r.ProtoMajor == 1 {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			linger(conn)
			_ = conn.Close() // closing is all that is left to do
		}
	}
	panic(http.ErrAbortHandler)
}

// linger has the close of conn discard what is under way, which sends an RST.
func linger(conn net.Conn) {
	for conn != nil {
		if t, ok := conn.(interface{ SetLinger(sec int) error }); ok {
			_ = t.SetLinger(0) // without it the connection just closes
			return
		}
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		conn = inner.NetConn()
	}
}

func (m *fault) explain(r *http.Request, x *gateway.Exchange) string {
	f := m.fate(r, x)
	text := strings.Join(m.config.describe(), "; ")
	if f == (fate{}) {
		return text + "; none of it for this request"
	}
	return text
}
