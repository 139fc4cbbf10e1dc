package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// introduced serves connections that begin with the header of the PROXY
// protocol, and tells what the headers said.
func introduced(t *testing.T, secure func(*http.Server)) (addr string, headers func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	})}
	if secure != nil {
		secure(s)
	}
	behind := newPipeListener()
	var wg sync.WaitGroup
	wg.Go(func() {
		if s.TLSConfig != nil {
			_ = s.ServeTLS(behind, "", "")
			return
		}
		_ = s.Serve(behind)
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			br := bufio.NewReader(conn)
			h, err := proxyproto.Read(br)
			if err != nil {
				t.Errorf("no header: %v", err)
				_ = conn.Close()
				continue
			}
			text := "nobody"
			if h.Command == proxyproto.PROXY && h.SourceAddr != nil {
				text = string(rune('0'+h.Version)) + " " + h.SourceAddr.String() + " " + h.DestinationAddr.String()
			}
			mu.Lock()
			seen = append(seen, text)
			mu.Unlock()
			select {
			case behind.conns <- &bufferedConn{conn, br}:
			case <-behind.closed:
				_ = conn.Close()
			}
		}
	})
	t.Cleanup(func() { _ = l.Close(); _ = s.Close(); _ = behind.Close(); wg.Wait() })
	return l.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func TestProxyProtocol(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 80), Port: 443}
	f := func(name string, version uint8, client, peer string, door net.Addr, want string) {
		t.Run(name, func(t *testing.T) {
			addr, headers := introduced(t, nil)
			c := start(t, at(addr), func(o *Options) { o.ProxyProtocol = version })
			ctx := t.Context()
			if door != nil {
				ctx = context.WithValue(ctx, http.LocalAddrContextKey, door)
			}
			r, x := requestContext(ctx, t, "GET", nil)
			if client != "" {
				x.Client = netip.MustParseAddr(client)
			}
			x.Request = r.Clone(ctx)
			x.Request.RemoteAddr = peer
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := read(t, resp); err != nil {
				t.Error(err)
			}
			if got := headers(); len(got) != 1 || got[0] != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	f("version 1", 1, "198.51.100.7", "198.51.100.7:5000", local, "1 198.51.100.7:5000 192.0.2.80:443")
	f("version 2", 2, "198.51.100.7", "198.51.100.7:5000", local, "2 198.51.100.7:5000 192.0.2.80:443")
	f("the port of a client behind a proxy is not known", 2, "198.51.100.7", "10.0.0.1:5000", local, "2 198.51.100.7:0 192.0.2.80:443")
	f("IPv6 at an IPv4 address", 2, "2001:db8::7", "[2001:db8::7]:5000", local, "2 [2001:db8::7]:5000 192.0.2.80:443")
	f("through a Unix socket", 1, "127.0.0.1", "@", &net.UnixAddr{Name: "/run/x", Net: "unix"}, "1 127.0.0.1:0 0.0.0.0:0")
	f("without a client", 1, "", "", nil, "nobody")
	f("without a client in version 2", 2, "", "", nil, "nobody")
}

// A connection is one client's; nobody else may send on it, one after the other
// or at once.
func TestProxyProtocolSharesNoConnection(t *testing.T) {
	for _, protocol := range []string{"http", "https"} {
		t.Run(protocol, func(t *testing.T) {
			var secure func(*http.Server)
			if protocol == "https" {
				secure = withTLS(t)
			}
			addr, headers := introduced(t, secure)
			c := start(t, at(addr), func(o *Options) {
				o.ProxyProtocol, o.Protocol, o.TLS = 2, protocol, &tls.Config{RootCAs: roots(t), ServerName: "example.com"}
			})
			if c.HTTP2() {
				t.Error("HTTP/2 shares connections")
			}
			const clients = 20
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() {
					for range 3 {
						r, x := request(t, "GET", nil)
						x.Client = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
						resp, err := c.RoundTrip(r)
						if err != nil {
							t.Error(err)
							return
						}
						if proto, err := read(t, resp); err != nil || proto != "HTTP/1.1" {
							t.Errorf("%s, %v", proto, err)
						}
					}
				})
			}
			wg.Wait()
			count := make(map[string]int)
			for _, h := range headers() {
				count[h]++
			}
			if len(count) != clients {
				t.Errorf("%d clients seen, want %d", len(count), clients)
			}
			for h, n := range count {
				if n != 3 {
					t.Errorf("%s opened %d connections for 3 requests", h, n)
				}
			}
		})
	}
}
