package upstream

import (
	"cmp"
	"net/http"
	"time"

	"github.com/pithead/pithead/gateway/http1"
)

// maxResponseHeader bounds the head of an answer in bytes, maxResponseFields in
// header lines: what is larger is an attack on the gateway's memory or on the
// client, not an answer.
const (
	maxResponseHeader = 256 << 10
	maxResponseFields = 100
)

// Timeouts bound how long an endpoint may take. Zero means the default.
type Timeouts struct {
	// Connect is for a new connection, name resolution included. Default: 2s.
	Connect time.Duration
	// TLSHandshake is for the handshake of a new connection. Default: 5s.
	TLSHandshake time.Duration
	// Response is the longest wait for the head of the answer in which the
	// endpoint neither answers nor takes more of the request's body; time in which
	// the client is to send more does not count. Default: 30s.
	Response time.Duration
	// BodyIdle is the longest wait for the next bytes of an answer. Default: 60s.
	BodyIdle time.Duration
	// StreamIdle stands in for Response and BodyIdle where silence is normal:
	// gRPC, server-sent events and upgraded connections. Bytes of both directions
	// count. Default: 1h.
	StreamIdle time.Duration
	// Idle is how long an unused connection is kept. Default: 4s, because many
	// servers close theirs after 5 and a request that crosses the close is lost.
	Idle time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Connect:      cmp.Or(t.Connect, 2*time.Second),
		TLSHandshake: cmp.Or(t.TLSHandshake, 5*time.Second),
		Response:     cmp.Or(t.Response, 30*time.Second),
		BodyIdle:     cmp.Or(t.BodyIdle, 60*time.Second),
		StreamIdle:   cmp.Or(t.StreamIdle, time.Hour),
		Idle:         cmp.Or(t.Idle, 4*time.Second),
	}
}

// transport carries the attempts of a cluster.
type transport struct {
	roundTripper
	dial dialFunc
}

type roundTripper interface {
	http.RoundTripper
	CloseIdleConnections()
}

// newTransport makes the transport of one cluster, whose connections are used
// again if keep says so. Plain HTTP/1.1 has an engine of its own; TLS and HTTP/2 are
// net/http's.
func newTransport(o *Options, keep bool) *transport {
	// A connection that begins with the address of one client is of no use to
	// another, and HTTP/2 would share it.
	keep = keep && o.ProxyProtocol == 0
	t := &transport{dial: newDialer(o)}
	if o.Protocol == "https" || o.Protocol == "h2c" {
		t.roundTripper = newStandard(o, t.dial, keep)
		return t
	}
	t.roundTripper = &http1.Transport{
		Dial: t.dial, IdleTimeout: o.Timeouts.Idle, MaxIdlePerHost: o.MaxIdle, DisableKeepAlives: !keep, MaxHead: maxResponseHeader,
	}
	return t
}

// newStandard makes a transport of net/http. It follows no redirect, uses no proxy
// of the environment (CVE-2025-22870), and leaves content coding to client and
// endpoint: a transport that asks for gzip by itself unpacks it by itself, up to a
// thousandfold.
func newStandard(o *Options, dial dialFunc, keep bool) *http.Transport {
	t := &http.Transport{
		DialContext:            dial,
		DisableKeepAlives:      !keep,
		DisableCompression:     true,
		TLSHandshakeTimeout:    o.Timeouts.TLSHandshake,
		IdleConnTimeout:        o.Timeouts.Idle,
		MaxIdleConnsPerHost:    o.MaxIdle,
		MaxResponseHeaderBytes: maxResponseHeader,
		// Most bodies then take one read and one write, with their head: about a
		// twelfth less CPU at 10 KiB than with the 4 KiB of net/http.
		ReadBufferSize:        16 << 10,
		WriteBufferSize:       16 << 10,
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  30 * time.Second,
			PingTimeout:      15 * time.Second,
			WriteByteTimeout: 30 * time.Second,
			// What a client that reads slowly makes the gateway keep of an answer.
			MaxReceiveBufferPerStream: 1 << 20,
		},
	}
	if o.Protocol == "h2c" {
		t.Protocols.SetUnencryptedHTTP2(true)
		return t
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(o.ProxyProtocol == 0)
	t.TLSClientConfig = tlsConfig(o)
	return t
}
