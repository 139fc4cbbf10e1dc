package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What an upstream is told of who asked is what the gateway itself goes by, however
// the connection came: a load balancer or a Unix socket must not hide the client.
func TestUpstreamLearnsTheClient(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "web.sock")
	listeners := fmt.Sprintf(`listeners:
  web: {address: "127.0.0.1:0", proxy_protocol: {from: [127.0.0.0/8]}}
  near: {address: "unix:%s"}
`, socket)
	told := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Join(r.Header["X-Forwarded-For"], "|")+" "+r.Header.Get("X-Forwarded-Host"))
	}
	strict := wholeBehind(t, told, "", listeners)
	f := func(name string, h *house, network, address, sent, want string) {
		t.Helper()
		c, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, sent); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, _ := io.ReadAll(resp.Body); string(got) != want+" a" {
			t.Errorf("%s: the upstream was told %q, want %q", name, got, want)
		}
	}
	const (
		plain = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
		chain = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n"
	)
	v1 := "PROXY TCP4 192.0.2.7 127.0.0.1 4000 80\r\n"
	f("PROXY v1", strict, "tcp", strict.addr(), v1+plain, "192.0.2.7")
	f("PROXY v1, a forged chain", strict, "tcp", strict.addr(), v1+chain, "192.0.2.7")
	f("PROXY v2, IPv6", strict, "tcp", strict.addr(), headerFor(t, "[2001:db8::8]:4000", "[::1]:80")+plain, "2001:db8::8")
	f("PROXY v2 LOCAL", strict, "tcp", strict.addr(), v2(0x20, 0, "")+plain, "127.0.0.1")
	f("Unix socket", strict, "unix", socket, plain, "127.0.0.1")
	f("Unix socket, a forged chain", strict, "unix", socket, chain, "127.0.0.1")

	text, err := os.ReadFile(strict.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := strict.edit(strings.Replace(string(text), "upstreams:", "trusted_proxies: [127.0.0.1, 192.0.2.0/24]\nupstreams:", 1)); err != nil {
		t.Fatal(err)
	}
	f("a trusted proxy behind PROXY v1", strict, "tcp", strict.addr(), v1+chain, "198.51.100.1, 192.0.2.7")
	f("a trusted proxy on a Unix socket", strict, "unix", socket, chain, "198.51.100.1, 127.0.0.1")
}
