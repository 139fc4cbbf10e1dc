package gateway

import (
	"context"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Exchange is the one typed record of a request and what became of it. The
// server makes it before it looks at the request, so that refusals are logged
// and counted too; every stage fills in its own fields; access log, metrics
// and explain read them when the exchange has ended.
//
// The goroutine that serves the request owns all plain fields. What another
// goroutine may report (the body of the client failing while a transport reads
// it) goes through methods. Exchanges are not pooled: a stray reference after
// the end is harmless.
type Exchange struct {
	// Set by the server and the canonical view.
	Request  *http.Request // the client's request as the canonical view left it; nil before. Not for writing
	ID       string        // request id, unique for this process and safe to log
	Start    time.Time     // when the gateway had the head of the request
	Listener string        // name of the listener that accepted it
	Client   netip.Addr    // the client, behind any trusted proxies; unmapped, without zone
	Trusted  bool          // the peer is one of trusted_proxies
	Scheme   string        // "http" or "https", as the client used it

	// LocalPort is the port that the client connected to, as far as the gateway or
	// the PROXY protocol knows; 0 for Unix sockets.
	LocalPort uint16

	Spare *Spare // what requests may keep together; nil is as much as they like

	// Set by the route match and the middlewares.
	Route    string    // name of the route; "" when none matched
	Upstream string    // name of the route's upstream, or of the one that its arm stands for
	Arm      string    // name of the canary arm; "" on routes without arms
	ArmBy    string    // what decided the arm: "header", "cookie", "split", "random", "default" (there is no split), "fallback"
	Subset   string    // the subset of the upstream's endpoints to use; "" is all of them
	Subject  string    // the proven identity of the caller; "" is nobody
	Claims   Claims    // what the proof of Subject says besides; nil is nothing
	Cluster  Cluster   // where the request goes
	Session  uint64    // ID of the endpoint that is to have the request if it can; 0 is any
	Retry    *Retry    // which attempts are made again; nil is none
	Refuge   *Arm      // where a retry goes in place of Arm, if its policy leaves canaries; nil is nowhere else
	Circuit  Circuit   // which attempts are made at all; nil is every one
	Priority Priority  // whether the request is among those that are given up first
	Stored   bool      // a cache in front has an answer that is stale and better than none
	Deadline time.Time // when the time for the whole exchange is over; zero is never
	Pages    Pages     // what error answers say; nil leaves them as they are

	// Set by the upstream and the proxy core.
	Endpoint        *Endpoint     // of the last attempt
	Attempts        int           // how often the request was sent upstream
	UpstreamStart   time.Time     // when the first attempt began
	UpstreamHeaders time.Time     // when the head of the answer was there
	UpstreamWaited  time.Duration // what the last attempt's endpoint took for the head of a good answer, while it and not the client was to move; 0 for streams, failures and answers that nothing can be learnt from
	UpstreamEnd     time.Time     // when the last byte of the answer was there, or the last attempt failed
	StandIn         bool          // the answer is one that a circuit has ready in place of the service's; nobody may store it

	// Set while the answer is written.
	Status   int    // what the client got; 499 when it left before an answer, 0 while there is none
	BytesIn  int64  // body bytes read from the client
	BytesOut int64  // body bytes written to the client
	Err      *Error // why the exchange failed and who caused it; nil when nothing did

	Anatomy Anatomy // where the time went

	upstreamDrop []string
	upstreamSet  http.Header
	upstreamAdd  http.Header
	onStream     func()
	onSend       []func(*http.Request)
	clientErr    atomic.Pointer[error]
}

// Claims are facts about the caller that came with the proof of who it is, by name.
// Values are what encoding/json makes of a document, numbers being json.Number.
// Requests may share them: they are not for writing.
type Claims map[string]any

// Beside is an exchange for an attempt that is made beside others of x: it knows
// all that middlewares have said, and what becomes of the attempt is its own.
func (x *Exchange) Beside() *Exchange {
	return &Exchange{
		Request: x.Request, ID: x.ID, Start: x.Start, Listener: x.Listener, Client: x.Client, Trusted: x.Trusted,
		Scheme: x.Scheme, LocalPort: x.LocalPort, Spare: x.Spare,
		Route: x.Route, Upstream: x.Upstream, Arm: x.Arm, ArmBy: x.ArmBy, Subset: x.Subset, Subject: x.Subject, Claims: x.Claims,
		Cluster: x.Cluster, Session: x.Session, Retry: x.Retry, Refuge: x.Refuge, Circuit: x.Circuit, Priority: x.Priority, Stored: x.Stored, Deadline: x.Deadline, Pages: x.Pages,
		Anatomy: Anatomy{Watch: x.Anatomy.Watch, Sampled: x.Anatomy.Sampled},
	}
}

type exchangeKey struct{}

// exchangeContext carries the exchange without a second allocation for the value.
type exchangeContext struct {
	context.Context
	x *Exchange
}

func (c *exchangeContext) Value(key any) any {
	if key == (exchangeKey{}) {
		return c.x
	}
	return c.Context.Value(key)
}

// WithExchange returns r with x in its context.
func WithExchange(r *http.Request, x *Exchange) *http.Request {
	return r.WithContext(&exchangeContext{r.Context(), x})
}

// ExchangeOf returns the exchange that r belongs to. A request that did not
// come through the gateway's server (a test, a health check) has none: then a
// fresh one is returned, so that callers need no nil check.
func ExchangeOf(r *http.Request) *Exchange {
	if x := ExchangeIn(r.Context()); x != nil {
		return x
	}
	return &Exchange{Start: time.Now(), Scheme: "http"}
}

// ExchangeIn returns the exchange that ctx belongs to, or nil.
func ExchangeIn(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

// SetUpstreamHeader makes name: value part of the request that goes upstream,
// instead of whatever the client sent under that name. It is applied after
// hop-by-hop removal, so a client cannot delete it by naming it in Connection
// (CVE-2024-45410). Middlewares never set trusted headers on the inbound request.
//
// Of several changes to one name, the later ones build on the earlier ones.
func (x *Exchange) SetUpstreamHeader(name, value string) {
	if x.upstreamSet == nil {
		x.upstreamSet = make(http.Header)
	}
	x.upstreamSet.Set(name, value)
	x.upstreamAdd.Del(name)
}

// AddUpstreamHeader is SetUpstreamHeader beside what goes upstream under that
// name already, the client's own values among it.
func (x *Exchange) AddUpstreamHeader(name, value string) {
	if x.upstreamAdd == nil {
		x.upstreamAdd = make(http.Header)
	}
	x.upstreamAdd.Add(name, value)
}

// DropUpstreamHeader keeps name out of the request that goes upstream.
func (x *Exchange) DropUpstreamHeader(name string) {
	x.upstreamDrop = append(x.upstreamDrop, http.CanonicalHeaderKey(name))
	x.upstreamSet.Del(name)
	x.upstreamAdd.Del(name)
}

// ApplyUpstreamHeaders carries out the drops, then the sets, then the adds, on h.
func (x *Exchange) ApplyUpstreamHeaders(h http.Header) {
	for _, name := range x.upstreamDrop {
		delete(h, name)
	}
	maps.Copy(h, x.upstreamSet)
	for name, values := range x.upstreamAdd {
		h[name] = slices.Concat(h[name], values) // a copy: h may share its lists
	}
}

// ClientFailed records that reading from or writing to the client failed.
// Only the first report counts. Any goroutine may call it.
func (x *Exchange) ClientFailed(err error) {
	x.clientErr.CompareAndSwap(nil, &err)
}

// ClientError is the first error that ClientFailed was told of, or nil. When
// it is set, the client and not the upstream is to blame for what followed.
func (x *Exchange) ClientError() error {
	if p := x.clientErr.Load(); p != nil {
		return *p
	}
	return nil
}

// OnStream registers what must happen when the answer turns out to be a stream
// without a foreseeable end: a timeout for the whole exchange is lifted.
func (x *Exchange) OnStream(f func()) { x.onStream = f }

// Streaming says that the answer is such a stream: gRPC, server-sent events or
// an upgraded connection. The proxy core calls it before it writes the head.
func (x *Exchange) Streaming() {
	if x.onStream != nil {
		x.onStream()
	}
}

// IsStream says whether a request asks for a stream: gRPC, server-sent events
// or an upgrade. Limits of size and duration do not apply to those.
func IsStream(r *http.Request) bool {
	return IsGRPC(r) || r.Header.Get("Upgrade") != "" ||
		strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// IsGRPC says whether r is a gRPC call.
func IsGRPC(r *http.Request) bool {
	ct := r.Header.Get("Content-Type")
	return r.ProtoMajor == 2 && (ct == "application/grpc" ||
		strings.HasPrefix(ct, "application/grpc+") || strings.HasPrefix(ct, "application/grpc;"))
}
