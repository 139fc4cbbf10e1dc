package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pithead/pithead/gateway"
)

// stranger is a registry that somebody else than the operator writes to.
type stranger struct {
	*registry
	loopback bool
}

func (s stranger) AllowsLoopback() bool { return s.loopback }

// nameServer answers each question for an A record with the address of the moment.
func nameServer(t *testing.T) (resolver *net.Resolver, answer *atomic.Pointer[netip.Addr]) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer = new(atomic.Pointer[netip.Addr])
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
			m.Additionals = nil
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: answer.Load().As4()},
				}}
			}
			text, err := m.Pack()
			if err == nil {
				_, _ = conn.WriteTo(text, peer)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}, answer
}

// D12: the first answer of DNS leads to the service, a later one to the metadata
// service of the cloud. What counts is the address that is dialled.
func TestRebind(t *testing.T) {
	t.Run("D12", func(t *testing.T) {
		resolver, answer := nameServer(t)
		addr := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, nil)
		_, port, _ := net.SplitHostPort(addr)
		c := start(t, at("orders.example:"+port), func(o *Options) { o.resolver = resolver })
		ask := func() error {
			c.pool.current.Load().CloseIdleConnections()
			r, _ := request(t, "GET", nil)
			resp, err := c.RoundTrip(r)
			if err == nil {
				_, err = read(t, resp)
			}
			return err
		}
		f := func(ip string, denied bool) {
			t.Helper()
			to := netip.MustParseAddr(ip)
			answer.Store(&to)
			err := ask()
			if !denied {
				if err != nil {
					t.Errorf("%s: %v", ip, err)
				}
				return
			}
			wantError(t, err, http.StatusBadGateway, "upstream_denied", gateway.CauseNetwork)
			if e, ok := errors.AsType[*deniedError](err); !ok || e.addr.Addr() != to {
				t.Errorf("%v does not say what was denied", err)
			}
		}
		f("127.0.0.1", false)
		f("169.254.169.254", true)
		f("0.0.0.0", true)
		f("224.0.0.1", true)
		f("127.0.0.1", false) // it is judged each time
		if s := c.Endpoints()[0]; s.Requests != 5 || s.Failures != 3 {
			t.Errorf("%d failures of %d attempts", s.Failures, s.Requests)
		}
	})
}

func TestWhatIsDenied(t *testing.T) {
	resolver, answer := nameServer(t)
	loopback := netip.MustParseAddr("127.0.0.1")
	answer.Store(&loopback)
	addr := serve(t, func(http.ResponseWriter, *http.Request) {}, nil)
	_, port, _ := net.SplitHostPort(addr)
	f := func(name, target string, foreign, allowLoopback, own, denied bool) {
		t.Run(name, func(t *testing.T) {
			reg := newRegistry(at(target)...)
			var src gateway.Source = reg
			if foreign {
				src = stranger{reg, allowLoopback}
			}
			feed := NewFeed("orders", src, quiet)
			o := Options{Name: "orders", Feed: feed, Policy: turns, Log: quiet, Own: new(Own), resolver: resolver}
			if own {
				o.Own.Set([]string{"unix:/run/x", "127.0.0.1:1", ":" + port})
			}
			c := New(o)
			defer feed.Close()
			defer c.Close()
			c.Start()
			<-c.Filled()
			r, _ := request(t, "GET", nil)
			resp, err := c.RoundTrip(r)
			if denied {
				wantError(t, err, http.StatusBadGateway, "upstream_denied", gateway.CauseNetwork)
			} else if err != nil {
				t.Error(err)
			} else if _, err := read(t, resp); err != nil {
				t.Error(err)
			}
		})
	}
	f("D01: a registry names loopback", addr, true, false, false, true)
	f("a registry on loopback may", addr, true, true, false, false)
	f("D01: a registry names a name that leads to loopback", "orders.example:"+port, true, false, false, true)
	f("D01: a registry names the gateway itself", addr, true, true, true, true)
	f("D01: a name leads to the gateway itself", "orders.example:"+port, false, false, true, true)
	f("the operator writes an address", addr, false, false, true, false)
	f("the operator writes a name for loopback", "orders.example:"+port, false, false, false, false)
}

func TestOwn(t *testing.T) {
	f := func(listen, addr string, want bool) {
		t.Helper()
		var o Own
		o.Set([]string{listen})
		if got := o.has(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("listening on %q, %s is own: %v", listen, addr, got)
		}
	}
	f("127.0.0.1:80", "127.0.0.1:80", true)
	f("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true)
	f("127.0.0.1:80", "127.0.0.1:81", false)
	f("127.0.0.1:80", "127.0.0.2:80", false)
	f(":80", "127.0.0.2:80", true)
	f("0.0.0.0:80", "[::1]:80", true)
	f("localhost:80", "127.0.0.1:80", true)
	f(":80", "203.0.113.7:80", false) // another machine with the same port
	f("unix:/run/x:80", "127.0.0.1:80", false)
	f("nonsense", "127.0.0.1:80", false)
	var none *Own
	if none.has(netip.MustParseAddrPort("127.0.0.1:80")) || new(Own).has(netip.MustParseAddrPort("127.0.0.1:80")) {
		t.Error("nobody has said anything")
	}
}
