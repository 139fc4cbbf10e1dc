package server

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// The life of a WebSocket is part of the upstream's time, and not of the gateway's.
func TestTunnelIsNotTheGatewaysTime(t *testing.T) {
	origin := func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw) // until the client has enough
	}
	h := wholeBehind(t, origin, "", web)
	log := filepath.Join(t.TempDir(), "access.log")
	text, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.edit(strings.Replace(string(text), `output: "off"`, "output: "+log, 1)); err != nil {
		t.Fatal(err)
	}
	c := dial(t, h.Addrs()["web"])
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	for range 100 {
		_, _ = io.WriteString(c, "x")
		if _, err := in.ReadByte(); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	h.stop()
	h.wait()
	line, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Upstream float64 `json:"upstream_ms"`
		Head     float64 `json:"ttfb_ms"`
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	if got.Upstream <= got.Head {
		t.Errorf("the upstream had %v ms of which %v until its head: where is the tunnel in %s", got.Upstream, got.Head, line)
	}
}

// How long a WebSocket lives makes it neither slow nor anybody's fault; how long
// it took until it lived does.
func TestTunnelIsNotSlow(t *testing.T) {
	for name, c := range map[string]struct {
		head time.Duration
		want gateway.Verdict
	}{
		"long life":  {time.Millisecond, gateway.VerdictNone},
		"slow start": {2 * time.Second, gateway.VerdictUpstream},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		e := newEntry(&front{}, &conn{}, httptest.NewRecorder(), r)
		e.w.entry, e.w.conn, e.w.tunnel = e, &conn{}, new(tunnel)
		x := &e.x
		x.Anatomy.Watch = &gateway.Watch{Slow: time.Second}
		x.Anatomy.Sampled = true
		x.Status, x.UpstreamStart, x.UpstreamHeaders = http.StatusSwitchingProtocols, x.Start, x.Start.Add(c.head)
		x.UpstreamEnd = x.Start.Add(time.Hour)
		e.dissect(r, nil, x.UpstreamEnd)
		if got := x.Anatomy.Verdict; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
