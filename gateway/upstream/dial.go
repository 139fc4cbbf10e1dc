package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/pithead/pithead/gateway"
)

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// dialError marks what failed before there was a connection, that is before
// any byte of the request left.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// deniedError is an address that the gateway does not connect to.
type deniedError struct {
	addr netip.AddrPort
	why  string
}

func (e *deniedError) Error() string { return fmt.Sprintf("%s is denied: %s", e.addr, e.why) }

// newDialer makes what opens the connections of a cluster, those of requests
// and those of checks.
func newDialer(o *Options) dialFunc {
	dial := o.dial
	if dial == nil {
		dial = guardedDial(o)
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, o.Timeouts.Connect)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err == nil && o.ProxyProtocol != 0 {
			if err = introduce(ctx, conn, o.ProxyProtocol); err != nil {
				_ = conn.Close() // nothing but the header was lost
			}
		}
		if err != nil {
			return nil, &dialError{err}
		}
		return track(o.Kernel, conn), nil
	}
}

// guardedDial judges the very address that is being dialled, not the answer of
// an earlier lookup: DNS may have another answer by now. What the operator has
// written as an address is taken as it is written; what a name resolves to is
// not the operator's word.
func guardedDial(o *Options) dialFunc {
	foreign, loopback := o.Feed.trust()
	plain := net.Dialer{KeepAlive: 15 * time.Second, Resolver: o.resolver}
	guarded := plain
	guarded.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("judge %q: %w", address, err)
		}
		if why := gateway.Denied(addr.Addr(), loopback); why != "" {
			return &deniedError{addr, why}
		}
		if o.Own.has(addr) {
			return &deniedError{addr, "the gateway itself listens there"}
		}
		return nil
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !foreign && asWritten(addr) {
			return plain.DialContext(ctx, network, addr)
		}
		return guarded.DialContext(ctx, network, addr)
	}
}

// asWritten says whether nobody but its writer decides where an address leads.
func asWritten(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// trust says whether somebody else than the operator names the endpoints, and
// whether those may be on this machine.
func (f *Feed) trust() (foreign, loopback bool) {
	if src, ok := f.src.(gateway.Foreign); ok {
		return true, src.AllowsLoopback()
	}
	return false, true
}
