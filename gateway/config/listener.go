package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// Listener takes requests at one address or several.
type Listener struct {
	// Address is host:port, where an empty host is all addresses, or `unix:` and an
	// absolute path. A client on a Unix socket counts as 127.0.0.1, here as in
	// `trusted_proxies`. Required, unless there are `addresses`.
	Address string `yaml:"address"`
	// Addresses are several of them in place of one. The limits are for all together.
	Addresses []string `yaml:"addresses"`
	// SocketMode are the permissions of Unix sockets: in octal digits. Default: 0660.
	SocketMode SocketMode `yaml:"socket_mode"`
	// Protocols: `h1` and `h2c` without TLS, `h1` and `h2` with it. Default: [h1], with TLS [h1, h2].
	Protocols []string `yaml:"protocols"`
	// TLS makes it an HTTPS listener.
	TLS *TLS `yaml:"tls"`
	// Limits refuse requests that are too large.
	Limits Limits `yaml:"limits"`
	// Timeouts end what is too slow.
	Timeouts Timeouts `yaml:"timeouts"`
	// ProxyProtocol takes the client's address from a load balancer that passes
	// connections on unread.
	ProxyProtocol *ProxyProtocol `yaml:"proxy_protocol"`
}

// SocketMode are permissions of a file.
type SocketMode fs.FileMode

// ProxyProtocol is the PROXY protocol, version 1 or 2. It comes before TLS. The
// address that it tells is the client's for limits, logs and `trusted_proxies`.
type ProxyProtocol struct {
	// From are the networks of the load balancers. Each connection from there must
	// begin with the header and is closed without one; others must not. Required.
	From []netip.Prefix `yaml:"from,required"`
	// Timeout is the time for the header. Default: 5s.
	Timeout time.Duration `yaml:"timeout"`
}

// TLS holds the certificates of a listener.
type TLS struct {
	// Certificates are pairs of PEM files. The client's SNI chooses among them,
	// exact names before wildcards; the first one serves clients without a match. A request
	// for a host of another certificate than the connection's is answered 421, and hosts that
	// none has are the first one's. Required.
	Certificates []Certificate `yaml:"certificates,required"`
	// MinVersion is `1.2` or `1.3`. Default: 1.2.
	MinVersion string `yaml:"min_version"`
	// Client asks clients for certificates of their own.
	Client *ClientTLS `yaml:"client"`
	// Hosts are hosts with settings of their own; all others, and clients without SNI, have
	// those above. A request for a host with other settings than its connection was opened
	// under is answered 421. Default: none.
	Hosts []TLSHost `yaml:"hosts"`
}

// Certificate is a certificate chain and its key.
type Certificate struct {
	// Cert is a PEM file with the certificate, then its intermediates. Required.
	Cert string `yaml:"cert,required"`
	// Key is a PEM file with the private key. Required.
	Key string `yaml:"key,required"`
}

// Limits bound the size of requests and the number of connections.
type Limits struct {
	// HeaderBytes bounds the head of a request. Default: 16KiB.
	HeaderBytes kind.Size `yaml:"header_bytes"`
	// HeaderFields bounds the number of header lines. Default: 100.
	HeaderFields int `yaml:"header_fields"`
	// Target bounds the request target. Default: 8KiB.
	Target kind.Size `yaml:"target"`
	// QueryParams bounds the number of query parameters. Default: 1000.
	QueryParams int `yaml:"query_params"`
	// Cookies bounds the number of cookies. Default: 100.
	Cookies int `yaml:"cookies"`
	// Connections bounds the open connections; further ones are closed at once. Default: 10000.
	Connections int `yaml:"connections"`
	// ConnectionsPerClient bounds the connections of one address (IPv6: one /64),
	// loopback excepted. Default: 256.
	ConnectionsPerClient int `yaml:"connections_per_client"`
	// Streams bounds the concurrent streams of an HTTP/2 connection. Default: 100.
	Streams int `yaml:"streams"`
}

// Timeouts bound how long a client may take.
type Timeouts struct {
	// Header is the time for the head of a request and the TLS handshake. Default: 10s.
	Header time.Duration `yaml:"header"`
	// BodyIdle is the longest pause while a body is read. Not for gRPC and upgraded connections. Default: 30s.
	BodyIdle time.Duration `yaml:"body_idle"`
	// BodyRate is the least rate of a body in bytes a second, from 10 seconds on; 0 is any. Not for gRPC and upgraded connections. Default: 500B.
	BodyRate kind.Size `yaml:"body_rate"`
	// WriteIdle is the longest pause while the client takes nothing of an answer. Default: 60s.
	WriteIdle time.Duration `yaml:"write_idle"`
	// Idle is how long a connection without a request stays open. Default: 75s.
	Idle time.Duration `yaml:"idle"`
	// MaxAge is how long a connection is used, give or take a tenth: the next answer
	// asks the client to open a new one, which spreads clients over instances that
	// were added. Requests under way finish. 0s is for ever. Not for upgraded connections. Default: 1h.
	MaxAge time.Duration `yaml:"max_age"`
}

// SetDefaults gives the sub-structs of which there is always one their values.
func (l *Limits) SetDefaults() {
	*l = Limits{
		HeaderBytes: 16 * kind.KiB, HeaderFields: 100, Target: 8 * kind.KiB, QueryParams: 1000, Cookies: 100,
		Connections: 10_000, ConnectionsPerClient: 256, Streams: 100,
	}
}

// SetDefaults sets the values that the comments of the fields name.
func (t *Timeouts) SetDefaults() {
	*t = Timeouts{
		Header: 10 * time.Second, BodyIdle: 30 * time.Second, BodyRate: 500,
		WriteIdle: 60 * time.Second, Idle: 75 * time.Second, MaxAge: time.Hour,
	}
}

// SetDefaults sets the values that the comments of the fields name.
func (l *Listener) SetDefaults() { l.SocketMode = 0o660 }

// SetDefaults sets the values that the comments of the fields name.
func (p *ProxyProtocol) SetDefaults() { p.Timeout = 5 * time.Second }

// SetDefaults sets the values that the comments of the fields name.
func (t *TLS) SetDefaults() { t.MinVersion = "1.2" }

// Validate checks what a listener says of itself.
func (l *Listener) Validate() error {
	var f faults
	l.validateAddresses(&f)
	known := []string{"h1", "h2c"}
	if l.TLS != nil {
		known = []string{"h1", "h2"}
	}
	for i, p := range l.Protocols {
		path := "protocols[" + strconv.Itoa(i) + "]"
		switch {
		case l.TLS == nil && p == "h2":
			f.at(path, "h2 needs tls; without it the name is h2c")
		case l.TLS != nil && p == "h2c":
			f.at(path, "h2c is HTTP/2 without TLS; with tls the name is h2")
		case slices.Contains(l.Protocols[:i], p):
			f.at(path, "%s stands here a second time", p)
		default:
			f.oneOf(path, p, known...)
		}
	}
	l.validateHostProtocols(&f)
	return f.err()
}

func (l *Listener) validateAddresses(f *faults) {
	switch {
	case l.Address == "" && len(l.Addresses) == 0:
		f.at("", "\"address\" is required, or a list of \"addresses\"")
	case l.Address != "" && len(l.Addresses) > 0:
		f.at("addresses", "address stands beside it; write all of them into one list here")
	}
	if l.Address != "" {
		if _, err := parseListen(l.Address); err != nil {
			f.at("address", "%w", err)
		}
	}
	for i, address := range l.Addresses {
		if _, err := parseListen(address); err != nil {
			f.at("addresses["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
}

// Listen are all addresses of the listener.
func (l *Listener) Listen() []string {
	if l.Address != "" {
		return []string{l.Address}
	}
	return l.Addresses
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *SocketMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q are no permissions; write three octal digits, such as 0660", text)
	}
	if n&0o200 == 0 {
		return fmt.Errorf("%q lets not even the gateway's own user connect", text)
	}
	*m = SocketMode(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m SocketMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// Validate wants somebody to speak the protocol.
func (p *ProxyProtocol) Validate() error {
	var f faults
	if len(p.From) == 0 {
		f.at("from", "names no network; without one leave proxy_protocol out")
	}
	f.time("timeout", p.Timeout, time.Millisecond)
	return f.err()
}

// Validate checks what a TLS listener says of itself.
func (t *TLS) Validate() error {
	var f faults
	if len(t.Certificates) == 0 {
		f.at("certificates", "at least one certificate is required")
	}
	f.oneOf("min_version", t.MinVersion, "1.2", "1.3")
	if t.Client != nil && t.Client.Mode == ClientNone {
		f.at("client.mode", "the mode none is for hosts of a listener that asks; to ask nobody, leave client out")
	}
	t.validateHosts(&f)
	return f.err()
}

// Validate wants the names of both files.
func (c *Certificate) Validate() error {
	var f faults
	if c.Cert == "" {
		f.at("cert", "names no file")
	}
	if c.Key == "" {
		f.at("key", "names no file")
	}
	return f.err()
}

// Validate checks the bounds of the bounds.
func (l *Limits) Validate() error {
	var f faults
	f.size("header_bytes", l.HeaderBytes, kind.KiB, kind.MiB)
	f.number("header_fields", l.HeaderFields, 1, 10_000)
	f.size("target", l.Target, 256, kind.MiB)
	f.number("query_params", l.QueryParams, 1, 100_000)
	f.number("cookies", l.Cookies, 1, 10_000)
	f.number("connections", l.Connections, 1, 10_000_000)
	f.number("connections_per_client", l.ConnectionsPerClient, 1, 10_000_000)
	f.number("streams", l.Streams, 1, 10_000)
	return f.err()
}

// Validate checks that every time has an end.
func (t *Timeouts) Validate() error {
	var f faults
	f.time("header", t.Header, 1)
	f.time("body_idle", t.BodyIdle, 1)
	f.size("body_rate", t.BodyRate, 0, kind.GiB)
	f.time("write_idle", t.WriteIdle, 1)
	f.time("idle", t.Idle, 1)
	if t.MaxAge != 0 {
		f.time("max_age", t.MaxAge, time.Second)
	}
	return f.err()
}
