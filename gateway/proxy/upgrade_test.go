package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
)

const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="

// echo is an upstream that accepts any upgrade, then repeats what it gets until
// the other side has no more to say.
func echo(t *testing.T) string {
	return serveRaw(t, func(c net.Conn, br *bufio.Reader, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(c, crlf("HTTP/1.1 200 OK", "Content-Length: 5")+"plain")
			return
		}
		_, _ = io.WriteString(c, crlf("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: "+r.Header.Get("Upgrade"), "Sec-WebSocket-Accept: x")+"hello ")
		_, _ = io.Copy(c, br)
		c.Close()
	})
}

func TestWebSocket(t *testing.T) {
	d := open(t, newCluster(t, echo(t), false), nil)
	c := dial(t, d.addr)
	// The client may speak before it has seen the 101.
	c.send(t, crlf("GET /ws HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket", key, "Sec-WebSocket-Version: 13")+"early ")
	res := c.head(t, "GET")
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-Websocket-Accept") != "x" {
		t.Fatalf("answer %d %v", res.StatusCode, res.Header)
	}
	c.send(t, "late")
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c.br); err != nil || string(b) != "hello early late" {
		t.Errorf("got %q, %v", b, err)
	}
	if x := d.exchange(t); x.Status != http.StatusSwitchingProtocols || x.Err != nil {
		t.Errorf("status %d, error %v", x.Status, x.Err)
	}
}

func TestRefusedUpgrades(t *testing.T) {
	upgrade := []string{"GET / HTTP/1.1", "Host: a", "Connection: Upgrade"}
	for name, tc := range map[string]struct {
		lines []string
		body  string
	}{
		"U02 byte above ASCII":   {append(upgrade, "Upgrade: a\x80b"), ""},
		"U02 without Connection": {[]string{"GET / HTTP/1.1", "Host: a", "Upgrade: a\x80b"}, ""},
		"U05 POST":               {[]string{"POST / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", key, "Content-Length: 0"}, ""},
		"U05 body":               {append(upgrade, "Upgrade: websocket", key, "Content-Length: 3"), "abc"},
		"U06 no key":             {append(upgrade, "Upgrade: websocket"), ""},
		"U06 short key":          {append(upgrade, "Upgrade: websocket", "Sec-WebSocket-Key: YWJj"), ""},
		"U06 two keys":           {append(upgrade, "Upgrade: websocket", key, key), ""},
		"U06 no base64":          {append(upgrade, "Upgrade: websocket", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, echo(t), false), nil)
			c := dial(t, d.addr)
			c.send(t, crlf(tc.lines...)+tc.body)
			res, b := c.answer(t, "GET")
			if res.StatusCode != http.StatusBadRequest || !res.Close {
				t.Errorf("status %d, close %v: %s", res.StatusCode, res.Close, b)
			}
			c.wantClosed(t)
			d.wantErr(t, 400, "bad_upgrade", gateway.CauseClient)
		})
	}
}

// What is not a WebSocket handshake is a plain request.
func TestIgnoredUpgrades(t *testing.T) {
	for name, lines := range map[string][]string{
		"U05 HTTP/1.0":   {"GET / HTTP/1.0", "Host: a", "Connection: Upgrade", "Upgrade: websocket", key},
		"no Connection":  {"GET / HTTP/1.1", "Host: a", "Upgrade: websocket", key},
		"other protocol": {"GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: irc/6.9"},
		"a list":         {"GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: h2c, websocket", key},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, echo(t), false), nil)
			c := dial(t, d.addr)
			c.send(t, crlf(lines...))
			if res, b := c.answer(t, "GET"); res.StatusCode != http.StatusOK || b != "plain" {
				t.Errorf("status %d, body %q", res.StatusCode, b)
			}
		})
	}
}

// A tunnel opens on 101 only. What a client sends after a refused handshake is
// its next request, and is judged as one.
func TestU03NoTunnelWithout101(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
		if r.URL.Path == "/secret" {
			t.Error("the bytes after the handshake went upstream")
		}
		_, _ = io.WriteString(c, crlf("HTTP/1.1 426 Upgrade Required", "Sec-WebSocket-Version: 13", "Content-Length: 0"))
	})
	d := open(t, newCluster(t, up, false), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/secret" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	c := dial(t, d.addr)
	c.send(t, crlf("GET /ws HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", key, "Sec-WebSocket-Version: 777")+
		crlf("GET /secret HTTP/1.1", "Host: a"))
	if res, _ := c.answer(t, "GET"); res.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("status %d", res.StatusCode)
	}
	if res, _ := c.answer(t, "GET"); res.StatusCode != http.StatusForbidden {
		t.Errorf("second status %d", res.StatusCode)
	}
}

func TestBadSwitchingProtocols(t *testing.T) {
	handshake := crlf("GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", key)
	plain := crlf("GET / HTTP/1.1", "Host: a")
	for name, tc := range map[string]struct{ request, answer, reason string }{
		"X06 unasked":            {plain, crlf("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"), "unsolicited_upgrade"},
		"X06 unasked, no header": {plain, crlf("HTTP/1.1 101 Switching Protocols"), "unsolicited_upgrade"},
		"U03 other protocol":     {handshake, crlf("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: h2c"), "upstream_failed"},
		"U03 no protocol":        {handshake, crlf("HTTP/1.1 101 Switching Protocols"), "upstream_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, reply(t, tc.answer), false), nil)
			c := dial(t, d.addr)
			c.send(t, tc.request)
			res, b := c.answer(t, "GET")
			if res.StatusCode != http.StatusBadGateway || strings.Contains(b, "h2c") {
				t.Errorf("status %d: %s", res.StatusCode, b)
			}
			d.wantErr(t, 502, tc.reason, gateway.CauseUpstream)
		})
	}
}
