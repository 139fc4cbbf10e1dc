package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

// sayClient answers with the address that the server takes for the client's.
func sayClient(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprint(w, gateway.ExchangeOf(r).Client)
}

const behindBalancer = `listeners: {web: {address: "127.0.0.1:0", limits: {connections_per_client: 2},
  proxy_protocol: {from: [127.0.0.0/8]}}}
`

// v2 is a version 2 header with a body of any sort.
func v2(command, family byte, body string) string {
	return string(proxyproto.SIGV2) + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

func headerFor(t *testing.T, from, to string, tlvs ...proxyproto.TLV) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// askWith sends parts, each in a packet of its own, then a request, and returns
// the body of the answer; "" for a connection that was closed without one.
func askWith(t *testing.T, addr net.Addr, parts ...string) string {
	t.Helper()
	c := dial(t, addr)
	_ = c.SetDeadline(time.Now().Add(patience))
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			return ""
		}
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
		return ""
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	return string(body)
}

func TestProxyHeader(t *testing.T) {
	h := prepare(t, settings(1, behindBalancer+ending), sayClient).open()
	f := func(name, want string, parts ...string) {
		t.Helper()
		if got := askWith(t, h.Addrs()["web"], parts...); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	refused := 0
	bad := func(name string, parts ...string) {
		t.Helper()
		f(name, "", parts...)
		refused++
	}
	f("v1", "192.0.2.7", "PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\n")
	f("v1 IPv6", "2001:db8::7", "PROXY TCP6 2001:db8::7 ::1 4000 80\r\n")
	f("v1 unknown", "127.0.0.1", "PROXY UNKNOWN ffff:: whatever\r\n")
	f("v1 in pieces", "192.0.2.7", "P", "ROXY TCP4 192.0.2.7", " 127.0.0.1 4000 80\r", "\n")
	f("v2", "192.0.2.8", headerFor(t, "192.0.2.8:4000", "127.0.0.1:80"))
	f("v2 IPv6", "2001:db8::8", headerFor(t, "[2001:db8::8]:4000", "[::1]:80"))
	whole := headerFor(t, "192.0.2.8:4000", "127.0.0.1:80")
	f("v2 in pieces", "192.0.2.8", whole[:5], whole[5:14], whole[14:20], whole[20:])
	f("v2 with TLVs", "192.0.2.8", headerFor(t, "192.0.2.8:1", "127.0.0.1:80",
		proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: bytes.Repeat([]byte("a"), 3000)}))
	f("v2 LOCAL", "127.0.0.1", v2(0x20, 0x00, ""))
	f("v2 LOCAL with an address", "127.0.0.1", v2(0x20, 0x11, "\xc0\x00\x02\x09\x7f\x00\x00\x01\x10\x00\x00\x50"))
	f("v2 of a Unix socket", "127.0.0.1", v2(0x21, 0x31, strings.Repeat("\x00", 216)))
	f("v2 unspecified", "127.0.0.1", v2(0x21, 0x00, "123"))
	bad("none")
	bad("garbage", "hello\r\n")
	bad("TLS", "\x16\x03\x01\x02\x00")
	bad("v1 too long", "PROXY UNKNOWN "+strings.Repeat("a", 108)+"\r\n")
	bad("v1 without an address", "PROXY TCP4 \r\n")
	bad("v1 with a bad address", "PROXY TCP4 192.0.2.777 127.0.0.1 1 2\r\n")
	bad("v1 with a line feed alone", "PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\n")
	bad("v2 of another version", v2(0x31, 0x11, "\xc0\x00\x02\x09\x7f\x00\x00\x01\x10\x00\x00\x50"))
	bad("v2 cut short", v2(0x21, 0x11, "\xc0\x00\x02"))
	bad("v2 too long", v2(0x21, 0x11, strings.Repeat("a", 5000)))
	h.wantMetric(fmt.Sprintf(`pithead_connections_refused_total{listener="web",reason="proxy_header"} %d`, refused))
}

// TestProxyHeaderIsReadOnce: whoever reads on after the failure, as net/http does
// to tell h2c from HTTP/1.1, gets it again, and no second chance.
func TestProxyHeaderIsReadOnce(t *testing.T) {
	h := prepare(t, settings(1, strings.Replace(behindBalancer, "web: {", "web: {protocols: [h1, h2c], ", 1)+ending), sayClient).open()
	const good = "PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\n"
	c := dial(t, h.Addrs()["web"])
	_ = c.SetDeadline(time.Now().Add(2 * time.Second)) // less than the time for a header
	if _, err := io.WriteString(c, "hello\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after a bad header: %v, want the end", err)
	}
	if got := askWith(t, h.Addrs()["web"], good); got != "192.0.2.7" {
		t.Errorf("after a good one: %q", got)
	}
	h.wantMetric(`pithead_connections_refused_total{listener="web",reason="proxy_header"} 1`)
}

// TestProxyHeaderOfStrangers: only load balancers may tell an address.
func TestProxyHeaderOfStrangers(t *testing.T) {
	h := prepare(t, settings(1, strings.Replace(behindBalancer, "127.0.0.0/8", "192.0.2.0/24", 1)+ending), sayClient).open()
	addr := h.Addrs()["web"]
	if got := askWith(t, addr); got != "127.0.0.1" {
		t.Errorf("without a header: %q", got)
	}
	for _, header := range []string{"PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\n", headerFor(t, "192.0.2.8:4000", "127.0.0.1:80")} {
		if got := askWith(t, addr, header); !strings.HasPrefix(got, "400 ") {
			t.Errorf("%q: %q, want 400", header, got)
		}
	}
}

// TestProxyHeaderCaps: the connections of one client are counted together, and
// not those of the load balancer.
func TestProxyHeaderCaps(t *testing.T) {
	h := prepare(t, settings(1, behindBalancer+ending), sayClient).open()
	open := func(client string) bool {
		c := dial(t, h.Addrs()["web"])
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, "PROXY TCP4 "+client+" 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") // a refusal is seen below
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err == nil
	}
	for i, want := range []bool{true, true, false, false} {
		if got := open("192.0.2.1"); got != want {
			t.Errorf("connection %d of one client: %t", i, got)
		}
	}
	for i := range 4 {
		if !open(fmt.Sprintf("192.0.2.%d", 10+i)) {
			t.Errorf("client %d was refused", i)
		}
	}
	h.wantMetric(`pithead_connections_refused_total{listener="web",reason="client_full"} 2`)
}

func TestProxyHeaderBeforeTLS(t *testing.T) {
	dir := t.TempDir()
	certify(t, dir, 1)
	tlsPart := fmt.Sprintf("tls: {certificates: [{cert: %s/cert.pem, key: %s/key.pem}]}, limits", dir, dir)
	h := secureWith(t, strings.Replace(behindBalancer, "limits", tlsPart, 1), sayClient)
	for _, protocol := range []string{"http/1.1", "h2"} {
		c := dial(t, h.Addrs()["web"])
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\n"); err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}}
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) { return c, nil }
		if _, body, err := fetch(&http.Client{Transport: tr}, "https://localhost/"); err != nil || body != "192.0.2.7" {
			t.Errorf("%s: %q %v", protocol, body, err)
		}
		tr.CloseIdleConnections()
	}
}

// TestSlowProxyHeader: the time for the header is one for all of it, and keeps
// neither others nor the end of the listener waiting.
func TestSlowProxyHeader(t *testing.T) {
	l := usual("h1")
	l.ProxyProtocol = &config.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Timeout: 5 * time.Second}
	for name, text := range map[string]string{"silent": "", "slow": "PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\n"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, l, sayClient, func(l *line) {
				client, server := net.Pipe()
				c := newConn(server, l.f, netip.MustParseAddr("192.0.2.1"), place{})
				c.awaitHeader(5 * time.Second)
				if !l.f.offer(c) {
					t.Fatal("the front takes no connections")
				}
				go drip(client, text, time.Second)
				if took, got := closedAfter(client); took != 5*time.Second || got != "" {
					t.Errorf("closed after %s, %q", took, got)
				}
			})
		})
	}
}
